//! What a shop can be asked.

use bytes::Bytes;
use naulon_exchange::{AuthorizationB, EntryMode, Exchange, Header, UnverifiedDecision};
use naulon_money::{Amount, Currency};
use naulon_purchase::{GoodsM, Order, UnverifiedPayment, UnverifiedRefund};
use naulon_statement::{Digest, PublicKey, Unverified, UnverifiedJoint, cbor};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bank::{DecisionBody, JointBody, bad_reply, bytes_of};
use crate::codes;
use crate::http::{BYTES, Call, CallError, HttpRequest, HttpResponse, Method, Part, Range};
use crate::problem::Problem;
use crate::route::{Answer, Route, json_of};
use crate::text::{AmountText, B64, CurrencyText, EntryText, KeyText, amount, as_text, as_texts};

/// The most bytes of encrypted goods in one answer.
pub const MAX_GOODS_PIECE: u64 = 4 * 1024 * 1024;

/// What a shop can be asked.
#[derive(Debug)]
pub enum ShopCall {
    /// Who it is and what it sells. `GET /v1/shop`
    Describe,
    /// A fresh offer for an item. `POST /v1/offers`
    Offer {
        /// The item's id.
        item: String,
    },
    /// A piece of encrypted goods, of at most [`MAX_GOODS_PIECE`] bytes. `GET /v1/goods/{digest}` with `Range`; a server
    /// that is asked for more than a piece, or for the whole, answers piece after piece.
    Goods {
        /// The digest of the encrypted goods.
        digest: Digest,
        /// Which bytes.
        range: Range,
    },
    /// Pay: P3 carried by the wallet. `POST /v1/payments`
    Pay(Box<UnverifiedPayment>),
    /// A refund of a sale, into blinded messages of the buyer. `POST /v1/refunds`
    Refund(Box<UnverifiedRefund>),
    /// Leave an order, for which the bank will bring the promise. `POST /v1/orders`
    Order(Box<Order>),
    /// P3 carried by the bank. `POST /v1/promises`
    Promise {
        /// The bank's header.
        header: Unverified<Header>,
        /// The bank's promise.
        authorization_b: Unverified<AuthorizationB>,
    },
    /// The offer of a sale that the shop has taken, for a buyer who has lost it. Who knows the whole header knows n, which
    /// the log does not publish. `POST /v1/offers/taken`
    Taken(Box<Unverified<Header>>),
    /// An item, as any HTTP client asks for it: 402 says what must be paid. `GET /v1/items/{item}`
    Item {
        /// The item's id.
        item: String,
        /// The `Authorization` header: the credential that pays, if there is one.
        authorization: Option<String>,
    },
}

/// What a shop answers.
#[derive(Debug)]
pub enum ShopReply {
    /// To `Describe`.
    Description(ShopDescription),
    /// To `Offer` and `Taken`: goods_m.
    Offer(Box<Unverified<GoodsM>>),
    /// To `Goods`: as many bytes of the range as there are.
    Goods(Piece),
    /// To `Order`: it is kept.
    Ordered,
    /// To `Pay` and `Promise`: what the log decided.
    Decision(Box<UnverifiedDecision>),
    /// To `Item`: it is paid for. The encrypted goods are at `/v1/goods/{goods}`, and the decision has the key.
    Delivered {
        /// The log's commit.
        decision: Box<UnverifiedDecision>,
        /// The digest of the encrypted goods.
        goods: Digest,
        /// The `Payment-Receipt` header ([`receipt`](crate::payment::receipt)).
        receipt: String,
    },
    /// To `Refund`.
    Refund(Box<Refund>),
    /// To `Pay`, `Promise` and `Item`: taken, and the log has not answered yet; ask again, or ask the log. Status 202.
    Pending,
}

/// A refund that the shop grants.
#[derive(Clone, Debug)]
pub struct Refund {
    /// The bank that pays it out.
    pub bank: PublicKey,
    /// How much.
    pub amount: Amount,
    /// The exchange to take to the bank, if the request named outputs.
    pub exchange: Option<UnverifiedJoint<Exchange>>,
}

/// A piece of encrypted goods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins.
    pub offset: u64,
    /// Its bytes: at least one.
    pub bytes: Bytes,
    /// How large the goods are, whole and encrypted.
    pub of: u64,
}

/// A shop's description of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShopDescription {
    /// M: its key.
    pub merchant: PublicKey,
    /// The banks whose promises it accepts.
    pub banks: Vec<PublicKey>,
    /// The logs that it trusts.
    pub logs: Vec<PublicKey>,
    /// How purchases may stand in the log.
    pub entries: Vec<EntryMode>,
    /// What it sells.
    pub items: Vec<Item>,
}

/// Something a shop sells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Names it in a call.
    pub item: String,
    /// A short name.
    pub title: String,
    /// What the buyer gets.
    pub description: String,
    /// What it costs.
    #[serde(with = "amount")]
    #[schemars(with = "AmountText")]
    pub price: Amount,
    /// In which currency.
    #[serde(with = "as_text")]
    #[schemars(with = "CurrencyText")]
    pub currency: Currency,
    /// The size of the plain goods in bytes.
    pub size: u64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DescriptionBody {
    #[serde(with = "as_text")]
    #[schemars(with = "KeyText")]
    merchant: PublicKey,
    #[serde(with = "as_texts")]
    #[schemars(with = "Vec<KeyText>")]
    banks: Vec<PublicKey>,
    #[serde(with = "as_texts")]
    #[schemars(with = "Vec<KeyText>")]
    logs: Vec<PublicKey>,
    #[serde(with = "as_texts")]
    #[schemars(with = "Vec<EntryText>")]
    entries: Vec<EntryMode>,
    items: Vec<Item>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OfferBody {
    item: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TakenBody {
    header: B64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GoodsMBody {
    goods_m: B64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PaymentBody {
    goods_m: B64,
    header: B64,
    authorization_b: B64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    goods_q: Option<B64>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeliveredBody {
    decision: B64,
    /// Where the encrypted goods are.
    goods: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RefundRequestBody {
    request: B64,
    authorization_q: B64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RefundBody {
    #[serde(with = "as_text")]
    #[schemars(with = "KeyText")]
    bank: PublicKey,
    #[serde(with = "amount")]
    #[schemars(with = "AmountText")]
    amount: Amount,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exchange: Option<JointBody>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OrderBody {
    goods_m: B64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    goods_q: Option<B64>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OrderedBody {
    ordered: bool,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PromiseBody {
    header: B64,
    authorization_b: B64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PendingBody {
    pending: bool,
}

/// The codes by which a payment is refused.
const OF_PAYMENTS: &[&str] = &[
    "not_my_offer",
    "unknown_bank",
    "unknown_log",
    "other_offer",
    "wrong_value",
    "wrong_entry",
    "goods_q",
    "too_late",
];

/// The codes by which a credential is refused; each comes with a fresh challenge.
const OF_CREDENTIALS: &[&str] = &[
    "payment_required",
    "bad_credential",
    "unknown_method",
    "bad_challenge",
    "other_item",
    "challenge_expired",
    "not_committed",
];
/// Below it are the encrypted goods.
const GOODS: &str = "/v1/goods/";
/// Below it are the items, for any HTTP client.
const ITEMS: &str = "/v1/items/";

/// The path of an item.
pub fn item_path(item: &str) -> String {
    format!("{ITEMS}{}", utf8_percent_encode(item, NON_ALPHANUMERIC))
}

/// The server and the item of an item's URL.
pub fn item_of_url(url: &str) -> Option<(&str, String)> {
    let (server, rest) = url.split_once(ITEMS)?;
    Some((server, item_of(rest)?))
}

fn item_of(segment: &str) -> Option<String> {
    let item = percent_decode_str(segment).decode_utf8().ok()?.into_owned();
    (!item.is_empty() && !segment.contains('/')).then_some(item)
}

impl Call for ShopCall {
    type Reply = ShopReply;

    const PARTY: &'static str = "shop";

    const ROUTES: &'static [Route] = &[
        Route::get("describe", "/v1/shop", "Who it is and what it sells.").gives(&[Answer::json::<DescriptionBody>()]),
        Route::post("offer", "/v1/offers", "A fresh offer for an item.", json_of::<OfferBody>())
            .gives(&[Answer::json::<GoodsMBody>()])
            .refuses(&[&["unknown_item"]]),
        Route::get("goods", "/v1/goods/{digest}", "The encrypted goods, or a part of them by `Range`.")
            .gives(&[Answer::bytes(), Answer::bytes().status(206)])
            .refuses(&[&["not_found", "range"]]),
        Route::post(
            "pay",
            "/v1/payments",
            "Takes the bank's promise, and hands out the key by the log.",
            json_of::<PaymentBody>(),
        )
        .gives(&[Answer::json::<DecisionBody>(), Answer::json::<PendingBody>().status(202)])
        .refuses(&[codes::OF_STATEMENTS, OF_PAYMENTS]),
        Route::post(
            "order",
            "/v1/orders",
            "Leaves an order, for which the bank brings the promise.",
            json_of::<OrderBody>(),
        )
        .gives(&[Answer::json::<OrderedBody>()])
        .refuses(&[codes::OF_STATEMENTS, &["not_my_offer", "too_late", "busy"]]),
        Route::post("promise", "/v1/promises", "Takes the bank's promise for an order.", json_of::<PromiseBody>())
            .gives(&[Answer::json::<DecisionBody>(), Answer::json::<PendingBody>().status(202)])
            .refuses(&[codes::OF_STATEMENTS, OF_PAYMENTS, &["unknown_order"]]),
        Route::post(
            "taken",
            "/v1/offers/taken",
            "The offer of a sale that was taken, for who knows its header.",
            json_of::<TakenBody>(),
        )
        .gives(&[Answer::json::<GoodsMBody>()])
        .refuses(&[codes::OF_STATEMENTS, &["unknown_purchase"]]),
        Route::get("item", "/v1/items/{item}", "An item for whoever pays: 402 with the `Payment` scheme says how.")
            .gives(&[Answer::json::<DeliveredBody>(), Answer::json::<PendingBody>().status(202)])
            .refuses(&[&["unknown_item"], OF_CREDENTIALS, codes::OF_STATEMENTS, OF_PAYMENTS]),
        Route::post(
            "refund",
            "/v1/refunds",
            "A refund into blinded messages: an exchange of the shop's to take to the bank.",
            json_of::<RefundRequestBody>(),
        )
        .gives(&[Answer::json::<RefundBody>()])
        .refuses(&[codes::OF_STATEMENTS, &["unknown_purchase", "not_the_buyer", "no_refund", "refund_outputs"]]),
    ];

    fn to_http(&self) -> HttpRequest {
        match self {
            ShopCall::Describe => HttpRequest::get("/v1/shop"),
            ShopCall::Offer { item } => HttpRequest::post("/v1/offers", &OfferBody { item: item.clone() }),
            ShopCall::Goods { digest, range } => {
                let range = Some(Range { len: range.len.min(MAX_GOODS_PIECE), ..*range });
                HttpRequest { range, ..HttpRequest::get(format!("/v1/goods/{digest}")) }
            }
            ShopCall::Pay(payment) => HttpRequest::post("/v1/payments", &PaymentBody::from(&**payment)),
            ShopCall::Refund(refund) => {
                let (request, authorization_q) = (bytes_of(&refund.request), refund.authorization_q.clone());
                let body = RefundRequestBody { request: B64(request), authorization_q: B64(authorization_q) };
                HttpRequest::post("/v1/refunds", &body)
            }
            ShopCall::Order(order) => {
                let goods_q = order.goods_q.as_ref().map(|goods_q| B64(bytes_of(goods_q)));
                HttpRequest::post("/v1/orders", &OrderBody { goods_m: B64(bytes_of(&order.goods_m)), goods_q })
            }
            ShopCall::Promise { header, authorization_b } => {
                let authorization_b = B64(bytes_of(authorization_b));
                HttpRequest::post("/v1/promises", &PromiseBody { header: B64(bytes_of(header)), authorization_b })
            }
            ShopCall::Taken(header) => {
                HttpRequest::post("/v1/offers/taken", &TakenBody { header: B64(bytes_of(header)) })
            }
            ShopCall::Item { item, authorization } => {
                HttpRequest { authorization: authorization.clone(), ..HttpRequest::get(item_path(item)) }
            }
        }
    }

    fn from_http(request: &HttpRequest) -> Result<Self, Problem> {
        match (request.method, request.path.as_str()) {
            (Method::Get, "/v1/shop") => Ok(ShopCall::Describe),
            (Method::Post, "/v1/offers") => Ok(ShopCall::Offer { item: request.json::<OfferBody>()?.item }),
            (Method::Post, "/v1/offers/taken") => {
                let TakenBody { header } = request.json()?;
                Ok(ShopCall::Taken(Box::new(Unverified::parse(&header.0)?)))
            }
            (Method::Post, "/v1/refunds") => {
                let RefundRequestBody { request, authorization_q: B64(authorization_q) } = request.json()?;
                let request = Unverified::parse(&request.0)?;
                Ok(ShopCall::Refund(Box::new(UnverifiedRefund { request, authorization_q })))
            }
            (Method::Post, "/v1/payments") => {
                let body: PaymentBody = request.json()?;
                Ok(ShopCall::Pay(Box::new(body.read()?)))
            }
            (Method::Get, path) if path.starts_with(ITEMS) => {
                let segment = path.strip_prefix(ITEMS).unwrap_or_default();
                let item = item_of(segment).ok_or_else(|| request.not_found())?;
                Ok(ShopCall::Item { item, authorization: request.authorization.clone() })
            }
            (Method::Post, "/v1/orders") => {
                let body: OrderBody = request.json()?;
                let goods_q = body.goods_q.as_ref().map(|bytes| Unverified::parse(&bytes.0)).transpose()?;
                Ok(ShopCall::Order(Box::new(Order { goods_m: Unverified::parse(&body.goods_m.0)?, goods_q })))
            }
            (Method::Post, "/v1/promises") => {
                let body: PromiseBody = request.json()?;
                let authorization_b = Unverified::parse(&body.authorization_b.0)?;
                Ok(ShopCall::Promise { header: Unverified::parse(&body.header.0)?, authorization_b })
            }
            (Method::Get, path) => match path.strip_prefix(GOODS).map(str::parse) {
                Some(Ok(digest)) => {
                    let range = request.range.unwrap_or(Range { offset: 0, len: MAX_GOODS_PIECE });
                    Ok(ShopCall::Goods { digest, range: Range { len: range.len.min(MAX_GOODS_PIECE), ..range } })
                }
                Some(Err(error)) => Err(Problem::new("malformed", error)),
                None => Err(request.not_found()),
            },
            _ => Err(request.not_found()),
        }
    }

    fn reply_to_http(reply: ShopReply) -> HttpResponse {
        match reply {
            ShopReply::Description(ShopDescription { merchant, banks, logs, entries, items }) => {
                HttpResponse::json(200, &DescriptionBody { merchant, banks, logs, entries, items })
            }
            ShopReply::Offer(offer) => HttpResponse::json(200, &GoodsMBody { goods_m: B64(bytes_of(&offer)) }),
            ShopReply::Goods(Piece { offset, bytes, of }) => HttpResponse::part(BYTES, offset, bytes, of),
            ShopReply::Decision(decision) => {
                HttpResponse::json(200, &DecisionBody { decision: B64(cbor::to_vec(&*decision)) })
            }
            ShopReply::Delivered { decision, goods, receipt } => {
                let body = DeliveredBody { decision: B64(cbor::to_vec(&*decision)), goods: format!("{GOODS}{goods}") };
                HttpResponse { receipt: Some(receipt), ..HttpResponse::json(200, &body) }
            }
            ShopReply::Refund(refund) => {
                let Refund { bank, amount, exchange } = *refund;
                let exchange = exchange.as_ref().map(JointBody::from);
                HttpResponse::json(200, &RefundBody { bank, amount, exchange })
            }
            ShopReply::Ordered => HttpResponse::json(200, &OrderedBody { ordered: true }),
            ShopReply::Pending => HttpResponse::json(202, &PendingBody { pending: true }),
        }
    }

    fn reply_from_http(&self, response: &HttpResponse) -> Result<ShopReply, CallError> {
        match self {
            ShopCall::Describe => {
                let DescriptionBody { merchant, banks, logs, entries, items } = response.parse()?;
                Ok(ShopReply::Description(ShopDescription { merchant, banks, logs, entries, items }))
            }
            ShopCall::Offer { .. } | ShopCall::Taken(_) => {
                let body: GoodsMBody = response.parse()?;
                Unverified::parse(&body.goods_m.0).map(|offer| ShopReply::Offer(Box::new(offer))).map_err(bad_reply)
            }
            ShopCall::Refund(_) => {
                let RefundBody { bank, amount, exchange } = response.parse()?;
                let exchange = exchange.map(JointBody::read).transpose().map_err(bad_reply)?;
                Ok(ShopReply::Refund(Box::new(Refund { bank, amount, exchange })))
            }
            ShopCall::Goods { range, .. } => match response.part {
                Some(Part { offset: Some(offset), of }) if offset == range.offset => {
                    Ok(ShopReply::Goods(Piece { offset, bytes: response.body.clone(), of }))
                }
                _ => Err(bad_reply("not the piece of goods that was asked for")),
            },
            ShopCall::Pay(_) | ShopCall::Promise { .. } | ShopCall::Item { .. } if response.status == 202 => {
                Ok(ShopReply::Pending)
            }
            ShopCall::Item { .. } => {
                let body: DeliveredBody = response.parse()?;
                let goods = body.goods.strip_prefix(GOODS).and_then(|digest| digest.parse().ok());
                let goods = goods.ok_or_else(|| bad_reply("goods are at another place than expected"))?;
                let decision = Box::new(cbor::from_slice(&body.decision.0).map_err(bad_reply)?);
                let receipt = response.receipt.clone().ok_or_else(|| bad_reply("there is no receipt"))?;
                Ok(ShopReply::Delivered { decision, goods, receipt })
            }
            ShopCall::Order(_) => response.parse::<OrderedBody>().map(|_| ShopReply::Ordered),
            ShopCall::Pay(_) | ShopCall::Promise { .. } => {
                let body: DecisionBody = response.parse()?;
                let decision = cbor::from_slice(&body.decision.0).map_err(bad_reply)?;
                Ok(ShopReply::Decision(Box::new(decision)))
            }
        }
    }
}

impl From<&UnverifiedPayment> for PaymentBody {
    fn from(payment: &UnverifiedPayment) -> Self {
        PaymentBody {
            goods_m: B64(bytes_of(&payment.goods_m)),
            header: B64(bytes_of(&payment.header)),
            authorization_b: B64(bytes_of(&payment.authorization_b)),
            goods_q: payment.goods_q.as_ref().map(|goods_q| B64(bytes_of(goods_q))),
        }
    }
}

impl PaymentBody {
    pub(crate) fn read(&self) -> Result<UnverifiedPayment, Problem> {
        Ok(UnverifiedPayment {
            goods_m: Unverified::parse(&self.goods_m.0)?,
            header: Unverified::parse(&self.header.0)?,
            authorization_b: Unverified::parse(&self.authorization_b.0)?,
            goods_q: self.goods_q.as_ref().map(|bytes| Unverified::parse(&bytes.0)).transpose()?,
        })
    }
}
