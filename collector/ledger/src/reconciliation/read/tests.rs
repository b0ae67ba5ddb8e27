//! Whose row it is and what of, and each fault by its row.

use super::*;

const COLUMNS: &str = r#"
customer = "Company"
sku = "Part no"
quantity = "Qty"
amount = "Net"
currency = "Cur"
[skus]
"TM-1" = "A"
"#;

fn directory() -> Directory {
    let mut directory = Directory {
        customers: ["cus_a", "cus_b", "cus_c"].map(|id| id.parse().unwrap()).into(),
        skus: ["A", "B"].map(|sku| sku.parse().unwrap()).into(),
        currencies: ["EUR".to_owned()].into(),
        ..Directory::default()
    };
    let customer = |id: &str| -> CustomerId { id.parse().unwrap() };
    Directory::call(&mut directory.refs, " K-17 ", customer("cus_a"));
    Directory::call(&mut directory.refs, "", customer("cus_b"));
    Directory::call(&mut directory.names, "Müller GmbH", customer("cus_b"));
    Directory::call(&mut directory.names, "Twin", customer("cus_b"));
    Directory::call(&mut directory.names, "Twin", customer("cus_c"));
    let fields = |value: &str| [("subscription".to_owned(), value.to_owned())].into();
    directory.take_mapping(
        &[
            ((customer("cus_c"), "B".parse().unwrap()), fields("SUB-9")),
            ((customer("cus_a"), "B".parse().unwrap()), fields("SUB-1")),
        ]
        .into(),
    );
    directory
}

fn taken(columns: &str, text: &str, decimal_comma: bool) -> Result<Invoice, String> {
    let file = File { name: "i.csv".to_owned(), bytes: text.as_bytes().to_vec() };
    let reading = Reading { decimal_comma, ..Reading::default() };
    let columns = Columns::parse(columns).unwrap();
    invoice(&file, &columns, &directory(), reading).map_err(|problems| {
        problems.first.iter().map(|one| format!("{}: {}", one.line, one.what)).collect::<Vec<_>>().join("\n")
    })
}

fn shown(invoice: &Invoice) -> Vec<String> {
    let row = |((customer, sku), theirs): (&Key, &Theirs)| {
        format!("{customer} {sku} {} {}", theirs.quantity.unwrap(), theirs.amount.unwrap())
    };
    invoice.rows.iter().map(row).collect()
}

fn refused(text: &str, words: &[&str]) {
    let told = taken(COLUMNS, text, false).unwrap_err();
    for word in words {
        assert!(told.contains(word), "{word:?} in {told}");
    }
}

#[test]
fn a_customer_is_found_by_its_id_its_reference_a_mapping_or_its_name() {
    let text = "Company,Part no,Qty,Net,Cur\ncus_a,A,4,12.8,EUR\nk-17,B,1,-3.20,EUR\nMÜLLER GMBH,TM-1,2.5,8,EUR\n\
                SUB-9,SUB-9,1,0,EUR\n";
    let invoice = taken(COLUMNS, text, false).unwrap();
    let expected = ["cus_a A 4 12.80", "cus_a B 1 -3.20", "cus_b A 2.5 8.00", "cus_c B 1 0.00"];
    assert_eq!((shown(&invoice), invoice.currency.as_str()), (expected.map(str::to_owned).to_vec(), "EUR"));
}

#[test]
fn semicolons_marks_spelt_heads_and_decimal_commas_are_read() {
    let text = "\u{feff}CUR;net;Qty;PART NO;company;Note\r\nEUR;12,80;4;A;cus_a;x\r\n;;;;;\r\nEUR;'-3,20;-1;B;cus_a;\r\n";
    let invoice = taken(COLUMNS, text, true).unwrap();
    assert_eq!(shown(&invoice), ["cus_a A 4 12.80", "cus_a B -1 -3.20"]);
    let all_in = COLUMNS.replace("currency = \"Cur\"", "all_in = \"EUR\"");
    let invoice = taken(&all_in, "Company,Part no,Qty,Net\ncus_a,A,4,12.8\n", false).unwrap();
    assert_eq!((shown(&invoice).len(), invoice.currency.as_str()), (1, "EUR"));
}

#[test]
fn each_fault_is_told_with_its_row() {
    refused("", &["0: it is empty"]);
    refused(",\n", &["0: it is empty"]);
    refused("Company,Qty,Net,Cur\ncus_a,1,1,EUR\n", &["1: it has no column `Part no`; there are `Company`"]);
    refused("Company,Part no,Qty,Net,Cur,net\ncus_a,A,1,1,EUR,1\n", &["1: column `Net` is there twice"]);
    let rows = "Company,Part no,Qty,Net,Cur\n\
        cus_z,A,1,1.00,EUR\n\
        Twin,A,1,1.00,EUR\n\
        cus_a,X-1,1,1.00,EUR\n\
        cus_a,A,many,1.00,EUR\n\
        cus_a,A,1,\"1,00\",EUR\n\
        cus_a,A,1,1.005,EUR\n\
        cus_a,A,1,1000000000,EUR\n\
        cus_a,A,1,1.00,EUR\n\
        cus_a,A,1,1.00,EUR\n\
        cus_b,A,1,1.00,USD\n\
        short\n";
    refused(
        rows,
        &[
            "2: customer `cus_z` is not known here",
            "3: customer `Twin` is more than one: cus_b, cus_c",
            "4: SKU `X-1` is not known here",
            "5: quantity `many` is not a plain number",
            "6: amount `1,00` has a comma",
            "7: amount `1.005` has more than the 2 decimals of EUR",
            "8: amount `1000000000` is not below",
            "10: SKU `A` of cus_a is in line 9 already",
            "11: it is in `USD`, the rows before it are in EUR",
            "12: it has 1 cells",
        ],
    );
    refused(
        "Company,Part no,Qty,Net,Cur\ncus_a,A,1,1,USD\n",
        &["2: it is in USD, the statement was sealed in EUR"],
    );
    refused("Company,Part no,Qty,Net,Cur\ncus_a,A,1,1,Euro\n", &["2: `Euro` is no currency"]);
    let told = taken(COLUMNS, "Company,Part no,Qty,Net,Cur\ncus_a,A,1,1.50,EUR\n", true).unwrap_err();
    assert!(told.contains("amount `1.50` has a point, but numbers have decimal commas"), "{told}");
    let dollars = COLUMNS.replace("currency = \"Cur\"", "all_in = \"USD\"");
    let told = taken(&dollars, "Company,Part no,Qty,Net\ncus_a,A,1,1\n", false).unwrap_err();
    assert_eq!(told, "0: it is in USD, the statement was sealed in EUR");
}

#[test]
fn columns_say_all_that_is_needed_and_nothing_else() {
    let check = |text: &str, words: &str| {
        let told = Columns::parse(text).unwrap_err();
        assert!(told.contains(words), "{words:?} in {told}");
    };
    let rest = "customer = \"a\"\nsku = \"b\"\nquantity = \"c\"\namount = \"d\"\n";
    check(rest, "says nothing of the currency");
    check(&format!("{rest}currency = \"e\"\nall_in = \"EUR\""), "one of them says it");
    check(&format!("{rest}all_in = \"euro\""), "no currency of ISO 4217");
    check(&format!("{rest}colour = \"e\""), "unknown field `colour`");
    check("customer = \"a\"", "missing field");
    check(&format!("{rest}all_in = \"EUR\"\n[skus]\nx = \"\""), "SKU");
}
