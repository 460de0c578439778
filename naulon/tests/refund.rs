//! A refund between real processes: granted, taken, through a bank and a shop that are killed on the way.

mod process;

use process::House;

#[test]
fn a_refund_comes_once_whoever_dies_on_the_way() {
    let house = House::furnished();
    std::fs::write(house.path("poem.txt"), "The fare is an obol.").expect("writes");
    house.done(&["shop", "add", "poem.txt", "--price", "3.70"]);
    let [_log, bank, shop] = house.open();
    let account = house.done(&["wallet", "open-account"])["account"].as_str().expect("a key").to_owned();
    house.done(&["bank", "credit", &account, "10"]);
    house.done(&["wallet", "withdraw", "10"]);
    let purchase = house.done(&["wallet", "buy", "poem.txt"])["operation"].to_string();
    assert_eq!(house.done(&["wallet", "balance"])["tokens"], "6.30");

    // Nothing is granted yet.
    let refused = house.run(&["wallet", "refund", &purchase]);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    // The shop sees its sale as paid a moment after the buyer does.
    let paid = || {
        let sales = house.done(&["shop", "sales"]);
        (sales[0]["state"] == "paid").then(|| sales[0]["sale"].as_str().expect("an id").to_owned())
    };
    let sale = std::iter::from_fn(|| {
        Some(paid().or_else(|| {
            std::thread::sleep(std::time::Duration::from_millis(200));
            None
        }))
    })
    .take(100)
    .flatten()
    .next()
    .expect("paid");
    assert_ne!(house.run(&["shop", "refund", &sale, "--amount", "3.80"]).code, Some(0), "more than the price");
    house.done(&["shop", "refund", &sale, "--amount", "1.20"]);

    // The bank is dead: the shop has signed, and the wallet keeps that. So the shop is wanted no more.
    drop(bank);
    let stuck = house.run(&["wallet", "refund", &purchase, "--patience", "1s"]);
    assert_ne!(stuck.code, Some(0), "{stuck:?}");
    drop(shop);
    let bank = house.serve("bank");
    house.done(&["wallet", "refund", &purchase]);
    let shop = house.serve("shop");
    assert_eq!(house.done(&["wallet", "balance"])["tokens"], "7.50");

    // The rest, and no more.
    house.done(&["shop", "refund", &sale]);
    house.done(&["wallet", "refund", &purchase]);
    assert_eq!(house.done(&["wallet", "balance"])["tokens"], "10.00");
    assert_ne!(house.run(&["shop", "refund", &sale]).code, Some(0), "there is nothing left to give back");
    let none = house.run(&["wallet", "refund", &purchase]);
    assert_ne!(none.code, Some(0), "{none:?}");
    house.done(&["audit"]);
    drop((bank, shop));
}
