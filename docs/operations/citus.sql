-- Spreads a bank's tables over a Citus cluster. Run it once, on the coordinator, when the bank has made its tables
-- (`naulon bank init` with the address of the database) and before anything stands in them:
--     psql postgresql:///DATABASE -f citus.sql
-- What every request touches and hardly ever changes is copied to every machine; the rest is spread by its own key.
SET search_path = naulon_bank;
SELECT create_reference_table('schema');
SELECT create_reference_table('clock');
SELECT create_reference_table('brand');
SELECT create_reference_table('log_fault');
SELECT create_reference_table('register');
SELECT create_reference_table('register_head');
SELECT create_distributed_table('mark', 'key');
SELECT create_distributed_table('record', 'id');
SELECT create_distributed_table('journal', 'record', colocate_with => 'record');
SELECT create_distributed_table('output', 'key');
SELECT create_distributed_table('account', 'key');
SELECT create_distributed_table('remainder', 'token');
SELECT create_distributed_table('chain', 'commitment');
SELECT create_distributed_table('carried', 'account');
SELECT create_distributed_table('day_item', 'brand');
