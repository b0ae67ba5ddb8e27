//! Minor digits of the currencies of ISO 4217.
//! Invariant: a code that is not in the list has no digits, and is refused rather than taken for two.

use std::cmp::Ordering;

/// Letters of a code.
const CODE_LENGTH: usize = 3;
/// From one code of a list to the next: a blank lies between.
const CODE_STEP: usize = CODE_LENGTH + 1;

// Each list is in order.

/// Codes whose amounts have no minor digits.
const NO_DIGITS: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF";
/// Codes whose amounts have three.
const THREE_DIGITS: &str = "BHD IQD JOD KWD LYD OMR TND";
/// Codes whose amounts have four.
const FOUR_DIGITS: &str = "CLF UYW";
/// Codes whose amounts have two.
const TWO_DIGITS: &str = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN \
    BWP BYN BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL \
    GHS GIP GMD GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD \
    MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR \
    RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SLL SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS \
    UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG ZWL";

/// How many digits an amount of this currency has after the point; `None` for a code that is not ISO 4217.
pub fn minor_digits(code: &str) -> Option<u32> {
    [(2, TWO_DIGITS), (0, NO_DIGITS), (3, THREE_DIGITS), (4, FOUR_DIGITS)]
        .into_iter()
        .find(|(_, codes)| lists(codes, code))
        .map(|(digits, _)| digits)
}

/// Whether a code is in a list, by halves: it is asked for each line of a statement.
fn lists(codes: &str, code: &str) -> bool {
    let known =
        |index: usize| codes.get(index * CODE_STEP..index * CODE_STEP + CODE_LENGTH).unwrap_or_default();
    let (mut first, mut end) = (0, codes.len().div_ceil(CODE_STEP));
    while first < end {
        let middle = first + (end - first) / 2;
        match known(middle).cmp(code) {
            Ordering::Equal => return true,
            Ordering::Less => first = middle + 1,
            Ordering::Greater => end = middle,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_currency_has_its_own_minor_digits() {
        for (code, digits) in [
            ("USD", 2),
            ("EUR", 2),
            ("CHF", 2),
            ("JPY", 0),
            ("KRW", 0),
            ("ISK", 0),
            ("KWD", 3),
            ("TND", 3),
            ("CLF", 4),
        ] {
            assert_eq!(minor_digits(code), Some(digits), "{code}");
        }
    }

    #[test]
    fn what_is_no_currency_has_none() {
        for code in ["", "US", "usd", "USDX", "XXX", "XAU", "USD EUR", " "] {
            assert_eq!(minor_digits(code), None, "{code}");
        }
    }

    #[test]
    fn no_code_is_listed_twice() {
        let mut all: Vec<&str> = [NO_DIGITS, TWO_DIGITS, THREE_DIGITS, FOUR_DIGITS]
            .iter()
            .flat_map(|codes| codes.split(' '))
            .collect();
        let count = all.len();
        for codes in [NO_DIGITS, TWO_DIGITS, THREE_DIGITS, FOUR_DIGITS] {
            let codes: Vec<&str> = codes.split(' ').collect();
            assert!(codes.is_sorted() && codes.iter().all(|code| code.len() == CODE_LENGTH), "{codes:?}");
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(all.iter().all(|code| code.len() == 3));
    }
}
