


SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;


CREATE SCHEMA naulon_bank;


SET default_tablespace = '';

SET default_table_access_method = heap;


CREATE TABLE naulon_bank.account (
    key bytea NOT NULL,
    balance bigint NOT NULL,
    CONSTRAINT account_balance_check CHECK ((balance >= 0)),
    CONSTRAINT account_key_check CHECK ((length(key) = 32))
);



CREATE TABLE naulon_bank.brand (
    key_id bytea NOT NULL,
    number bigint NOT NULL,
    currency text NOT NULL,
    denomination bigint NOT NULL,
    purpose smallint NOT NULL,
    issue_from bigint NOT NULL,
    statement bytea NOT NULL,
    CONSTRAINT brand_key_id_check CHECK ((length(key_id) = 32))
);



ALTER TABLE naulon_bank.brand ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME naulon_bank.brand_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);



CREATE TABLE naulon_bank.carried (
    account bytea NOT NULL,
    sum bigint NOT NULL
);



CREATE TABLE naulon_bank.chain (
    commitment bytea NOT NULL,
    maximum bigint NOT NULL,
    expiry bigint NOT NULL,
    payee bytea NOT NULL,
    refund bytea NOT NULL,
    "position" bigint NOT NULL,
    tick bytea,
    paid bigint NOT NULL,
    returned bigint NOT NULL,
    CONSTRAINT chain_check CHECK ((("position" = 0) = (tick IS NULL))),
    CONSTRAINT chain_check1 CHECK ((paid <= (maximum - returned))),
    CONSTRAINT chain_commitment_check CHECK ((length(commitment) = 32)),
    CONSTRAINT chain_maximum_check CHECK ((maximum > 0)),
    CONSTRAINT chain_paid_check CHECK ((paid >= 0)),
    CONSTRAINT chain_position_check CHECK (("position" >= 0)),
    CONSTRAINT chain_returned_check CHECK ((returned >= 0))
);



CREATE TABLE naulon_bank.clock (
    one smallint NOT NULL,
    "time" bigint NOT NULL,
    CONSTRAINT clock_one_check CHECK ((one = 1))
);



CREATE TABLE naulon_bank.day_item (
    day bigint NOT NULL,
    brand bytea NOT NULL,
    side smallint NOT NULL,
    chunk bigint NOT NULL,
    first bytea NOT NULL,
    root bytea NOT NULL,
    items bytea NOT NULL
);



CREATE TABLE naulon_bank.journal (
    record bytea NOT NULL,
    settles boolean NOT NULL,
    line integer NOT NULL,
    debit bytea NOT NULL,
    credit bytea NOT NULL,
    amount bigint NOT NULL,
    CONSTRAINT journal_amount_check CHECK ((amount > 0))
);



CREATE TABLE naulon_bank.log_fault (
    purchase bytea NOT NULL,
    code text NOT NULL,
    decision bytea NOT NULL
);



CREATE TABLE naulon_bank.mark (
    key bytea NOT NULL,
    holder bytea NOT NULL,
    CONSTRAINT mark_key_check CHECK ((length(key) = 32))
);



CREATE TABLE naulon_bank.output (
    key bytea NOT NULL,
    record bytea NOT NULL,
    CONSTRAINT output_key_check CHECK ((length(key) = 32))
);



CREATE TABLE naulon_bank.record (
    id bytea NOT NULL,
    accepted bigint NOT NULL,
    state smallint NOT NULL,
    exchange bytea NOT NULL,
    decision bytea,
    settled bigint,
    CONSTRAINT record_check CHECK (((state = ANY (ARRAY[2, 3])) = (decision IS NOT NULL))),
    CONSTRAINT record_id_check CHECK ((length(id) = 32)),
    CONSTRAINT record_state_check CHECK (((state >= 0) AND (state <= 3)))
);



CREATE TABLE naulon_bank.register (
    place bigint NOT NULL,
    entry bytea NOT NULL,
    statement bytea NOT NULL,
    CONSTRAINT register_entry_check CHECK ((length(entry) = 33))
);



CREATE TABLE naulon_bank.register_head (
    one smallint NOT NULL,
    size bigint NOT NULL,
    checkpoint text,
    CONSTRAINT register_head_one_check CHECK ((one = 1))
);



CREATE TABLE naulon_bank.remainder (
    token bytea NOT NULL,
    rest bigint NOT NULL,
    uses smallint NOT NULL,
    CONSTRAINT remainder_rest_check CHECK ((rest >= 0)),
    CONSTRAINT remainder_token_check CHECK ((length(token) = 32)),
    CONSTRAINT remainder_uses_check CHECK ((uses >= 0))
);



CREATE TABLE naulon_bank.schema (
    one smallint NOT NULL,
    number bigint NOT NULL,
    CONSTRAINT schema_one_check CHECK ((one = 1))
);















INSERT INTO naulon_bank.clock VALUES (1, 0);
























INSERT INTO naulon_bank.register_head VALUES (1, 0, NULL);






INSERT INTO naulon_bank.schema VALUES (1, 7);



SELECT pg_catalog.setval('naulon_bank.brand_number_seq', 1, false);



ALTER TABLE ONLY naulon_bank.account
    ADD CONSTRAINT account_pkey PRIMARY KEY (key);



ALTER TABLE ONLY naulon_bank.brand
    ADD CONSTRAINT brand_currency_denomination_purpose_issue_from_key UNIQUE (currency, denomination, purpose, issue_from);



ALTER TABLE ONLY naulon_bank.brand
    ADD CONSTRAINT brand_pkey PRIMARY KEY (key_id);



ALTER TABLE ONLY naulon_bank.carried
    ADD CONSTRAINT carried_pkey PRIMARY KEY (account);



ALTER TABLE ONLY naulon_bank.chain
    ADD CONSTRAINT chain_pkey PRIMARY KEY (commitment);



ALTER TABLE ONLY naulon_bank.clock
    ADD CONSTRAINT clock_pkey PRIMARY KEY (one);



ALTER TABLE ONLY naulon_bank.day_item
    ADD CONSTRAINT day_item_pkey PRIMARY KEY (brand, day, side, chunk);



ALTER TABLE ONLY naulon_bank.journal
    ADD CONSTRAINT journal_pkey PRIMARY KEY (record, settles, line);



ALTER TABLE ONLY naulon_bank.log_fault
    ADD CONSTRAINT log_fault_pkey PRIMARY KEY (purchase, code);



ALTER TABLE ONLY naulon_bank.mark
    ADD CONSTRAINT mark_pkey PRIMARY KEY (key);



ALTER TABLE ONLY naulon_bank.output
    ADD CONSTRAINT output_pkey PRIMARY KEY (key, record);



ALTER TABLE ONLY naulon_bank.record
    ADD CONSTRAINT record_pkey PRIMARY KEY (id);



ALTER TABLE ONLY naulon_bank.register_head
    ADD CONSTRAINT register_head_pkey PRIMARY KEY (one);



ALTER TABLE ONLY naulon_bank.register
    ADD CONSTRAINT register_pkey PRIMARY KEY (place);



ALTER TABLE ONLY naulon_bank.remainder
    ADD CONSTRAINT remainder_pkey PRIMARY KEY (token);



ALTER TABLE ONLY naulon_bank.schema
    ADD CONSTRAINT schema_pkey PRIMARY KEY (one);



CREATE INDEX record_accepted ON naulon_bank.record USING btree (accepted);



CREATE INDEX record_locked ON naulon_bank.record USING btree (id) WHERE (state = 1);



CREATE INDEX record_settled ON naulon_bank.record USING btree (settled) WHERE (settled IS NOT NULL);




