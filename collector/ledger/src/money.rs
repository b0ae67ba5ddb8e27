//! Exact decimals: quantities, unit prices, amounts and their roundings.
//! Invariant: nothing is rounded but where a function says so, once; what does not fit is refused, never wrapped.
//!
//! Plain 128-bit integers with a scale and not a decimal type: a share of a graduated cost is a fraction of a
//! product, which a 96-bit decimal would round before its time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Largest unit price or cost, in whole units of the currency: beyond it is a typing error, and products fit.
const PRICE_MAX: i128 = 1_000_000_000;
/// Most digits of a unit price or cost after the point, for the same reason.
const PRICE_DIGITS_MAX: u32 = 8;

/// An amount or a sum beyond what is computed exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("quantities or prices are too large to compute with exactly")]
pub struct TooLarge;

/// A text that is not a plain decimal of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {kind}")]
pub struct DecimalError {
    text: String,
    kind: &'static str,
}

impl DecimalError {
    fn new(text: &str, kind: &'static str) -> Self {
        Self { text: text.chars().take(40).collect(), kind }
    }
}

/// A number of seats or units, exact to the hundredth. Its text has no trailing zeros.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Quantity {
    hundredths: i128,
}

impl Quantity {
    /// None.
    pub const ZERO: Self = Self { hundredths: 0 };

    /// So many whole units.
    pub fn units(units: impl Into<i128>) -> Self {
        Self { hundredths: units.into().saturating_mul(100) }
    }

    /// `total` parted by `divisor`, rounded half up to the hundredth; both count something.
    pub fn average(total: u64, divisor: u64) -> Self {
        let divisor = i128::from(divisor).max(1);
        Self { hundredths: (i128::from(total) * 200 + divisor) / (divisor * 2) }
    }

    /// The quantity in hundredths.
    pub fn hundredths(self) -> i128 {
        self.hundredths
    }

    /// So many whole units as it begins; a negative one is none.
    pub fn rounded_up(self) -> u64 {
        u64::try_from((self.hundredths.max(0) + 99) / 100).unwrap_or(u64::MAX)
    }

    /// The whole units in it; of a negative one none.
    pub fn whole(self) -> u64 {
        u64::try_from(self.hundredths.max(0) / 100).unwrap_or(u64::MAX)
    }

    /// Whether it is none.
    pub fn is_zero(self) -> bool {
        self.hundredths == 0
    }

    /// The sum.
    pub fn plus(self, other: Self) -> Result<Self, TooLarge> {
        Ok(Self { hundredths: self.hundredths.checked_add(other.hundredths).ok_or(TooLarge)? })
    }

    /// The difference.
    pub fn minus(self, other: Self) -> Result<Self, TooLarge> {
        Ok(Self { hundredths: self.hundredths.checked_sub(other.hundredths).ok_or(TooLarge)? })
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nearly every quantity is a whole one.
        if self.hundredths % 100 == 0
            && let Ok(whole) = i64::try_from(self.hundredths / 100)
        {
            return write!(f, "{whole}");
        }
        let text = Decimal { mantissa: self.hundredths, scale: 2 }.to_string();
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl FromStr for Quantity {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let refused = || DecimalError::new(text, "a quantity with at most 2 decimals");
        let decimal: Decimal = text.parse().map_err(|_| refused())?;
        let hundredths = decimal.rescaled(2).map_err(|_| refused())?;
        if hundredths.unsigned_abs() > 100 * 1_000_000_000_000_000 {
            return Err(refused());
        }
        Ok(Self { hundredths })
    }
}

impl TryFrom<String> for Quantity {
    type Error = DecimalError;

    fn try_from(text: String) -> Result<Self, DecimalError> {
        text.parse()
    }
}

impl From<Quantity> for String {
    fn from(quantity: Quantity) -> String {
        quantity.to_string()
    }
}

/// A decimal with as many digits after the point as it was written with: an amount of money, or a ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Decimal {
    mantissa: i128,
    scale: u32,
}

impl Decimal {
    /// Nothing, with so many digits after the point.
    pub fn zero(scale: u32) -> Self {
        Self { mantissa: 0, scale }
    }

    /// The value times ten to the scale.
    pub fn mantissa(self) -> i128 {
        self.mantissa
    }

    /// Digits after the point.
    pub fn scale(self) -> u32 {
        self.scale
    }

    /// `numerator / (denominator * 10^shift)` rounded half even to `scale` digits; the denominator is positive.
    pub fn rounded(numerator: i128, denominator: i128, shift: u32, scale: u32) -> Result<Self, TooLarge> {
        let (up, down) = (scale.saturating_sub(shift), shift.saturating_sub(scale));
        let numerator = numerator.checked_mul(power_of_ten(up)?).ok_or(TooLarge)?;
        let denominator = denominator.checked_mul(power_of_ten(down)?).ok_or(TooLarge)?;
        Ok(Self { mantissa: half_even(numerator, denominator), scale })
    }

    /// The sum, with the digits of the finer one.
    pub fn plus(self, other: Self) -> Result<Self, TooLarge> {
        self.with(other, i128::checked_add)
    }

    /// The difference, with the digits of the finer one.
    pub fn minus(self, other: Self) -> Result<Self, TooLarge> {
        self.with(other, i128::checked_sub)
    }

    /// This divided by another, rounded half even to `scale` digits; `None` when that is zero.
    pub fn ratio(self, other: Self, scale: u32) -> Result<Option<Self>, TooLarge> {
        let common = self.scale.max(other.scale);
        let (mut over, mut under) = (self.rescaled(common)?, other.rescaled(common)?);
        if under == 0 {
            return Ok(None);
        }
        if under < 0 {
            (over, under) = (-over, -under);
        }
        Self::rounded(over, under, 0, scale).map(Some)
    }

    fn with(self, other: Self, sum: fn(i128, i128) -> Option<i128>) -> Result<Self, TooLarge> {
        let scale = self.scale.max(other.scale);
        let mantissa = sum(self.rescaled(scale)?, other.rescaled(scale)?).ok_or(TooLarge)?;
        Ok(Self { mantissa, scale })
    }

    /// The value times ten to `scale`; refused when that is not whole.
    pub fn rescaled(self, scale: u32) -> Result<i128, TooLarge> {
        if scale >= self.scale {
            return self.mantissa.checked_mul(power_of_ten(scale - self.scale)?).ok_or(TooLarge);
        }
        let divisor = power_of_ten(self.scale - scale)?;
        if self.mantissa % divisor == 0 { Ok(self.mantissa / divisor) } else { Err(TooLarge) }
    }
}

/// Ten to the `exponent`.
pub(crate) fn power_of_ten(exponent: u32) -> Result<i128, TooLarge> {
    10i128.checked_pow(exponent).ok_or(TooLarge)
}

/// The nearest integer to a fraction with a positive denominator, the even one when two are as near.
fn half_even(numerator: i128, denominator: i128) -> i128 {
    let (whole, rest) = (numerator.div_euclid(denominator), numerator.rem_euclid(denominator));
    match rest.cmp(&(denominator - rest)) {
        std::cmp::Ordering::Less => whole,
        std::cmp::Ordering::Greater => whole + 1,
        std::cmp::Ordering::Equal => whole + whole.rem_euclid(2),
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let (magnitude, scale) = (self.mantissa.unsigned_abs(), self.scale as usize);
        if scale == 0 {
            return write!(f, "{sign}{magnitude}");
        }
        // Nearly every amount is a short one, and tables are full of them.
        if let (Ok(short), Some(unit)) = (u64::try_from(magnitude), 10_u64.checked_pow(self.scale)) {
            return write!(f, "{sign}{}.{:0scale$}", short / unit, short % unit);
        }
        let digits = magnitude.to_string();
        let digits = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let refused = || DecimalError::new(text, "a plain decimal");
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !is_digits(whole) || !is_digits(fraction) || whole.len() + fraction.len() > 30 {
            return Err(refused());
        }
        let fraction = if unsigned.contains('.') { fraction } else { "" };
        let mantissa: i128 = format!("{whole}{fraction}").parse().map_err(|_| refused())?;
        let mantissa = if text.starts_with('-') { -mantissa } else { mantissa };
        Ok(Self { mantissa, scale: u32::try_from(fraction.len()).map_err(|_| refused())? })
    }
}

impl TryFrom<String> for Decimal {
    type Error = DecimalError;

    fn try_from(text: String) -> Result<Self, DecimalError> {
        text.parse()
    }
}

impl From<Decimal> for String {
    fn from(decimal: Decimal) -> String {
        decimal.to_string()
    }
}

/// A unit price or cost; it stands in a statement as the policy wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnitPrice {
    text: String,
    value: Decimal,
}

impl UnitPrice {
    /// Its value.
    pub fn value(&self) -> Decimal {
        self.value
    }

    /// What a quantity costs, rounded half even to so many digits.
    pub fn times(&self, quantity: Quantity, digits: u32) -> Result<Decimal, TooLarge> {
        let product = quantity.hundredths.checked_mul(self.value.mantissa).ok_or(TooLarge)?;
        Decimal::rounded(product, 1, self.value.scale + 2, digits)
    }
}

impl FromStr for UnitPrice {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let refused =
            || DecimalError::new(text, "a price: expected a plain decimal such as `2.10`, up to 10^9");
        let value: Decimal = text.parse().map_err(|_| refused())?;
        let limit = power_of_ten(value.scale).map_err(|_| refused())?.saturating_mul(PRICE_MAX);
        if text.starts_with('-') || value.scale > PRICE_DIGITS_MAX || value.mantissa > limit {
            return Err(refused());
        }
        Ok(Self { text: text.to_owned(), value })
    }
}

impl TryFrom<String> for UnitPrice {
    type Error = DecimalError;

    fn try_from(text: String) -> Result<Self, DecimalError> {
        text.parse()
    }
}

impl From<UnitPrice> for String {
    fn from(price: UnitPrice) -> String {
        price.text
    }
}

impl fmt::Display for UnitPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_rounded_half_to_the_even_digit_on_either_side_of_zero() {
        for (numerator, denominator, rounded) in [
            (5, 10, 0),
            (15, 10, 2),
            (25, 10, 2),
            (26, 10, 3),
            (24, 10, 2),
            (-5, 10, 0),
            (-15, 10, -2),
            (-25, 10, -2),
            (-26, 10, -3),
            (1, 3, 0),
            (2, 3, 1),
        ] {
            assert_eq!(half_even(numerator, denominator), rounded, "{numerator}/{denominator}");
        }
    }

    #[test]
    fn a_quantity_times_a_price_is_rounded_once_to_the_digits_of_the_currency() {
        let check = |quantity: &str, price: &str, digits, amount: &str| {
            let price: UnitPrice = price.parse().unwrap();
            assert_eq!(price.times(quantity.parse().unwrap(), digits).unwrap().to_string(), amount);
        };
        check("11", "2.10", 2, "23.10");
        check("10.5", "2.10", 2, "22.05");
        check("0.5", "0.01", 2, "0.00");
        check("1.5", "0.01", 2, "0.02");
        check("2.5", "0.01", 2, "0.02");
        check("-1", "2.10", 2, "-2.10");
        check("0.5", "3", 0, "2");
        check("3", "0.0005", 3, "0.002");
        check("1000000000", "1000000000", 2, "1000000000000000000.00");
    }

    #[test]
    fn an_average_is_rounded_half_up_to_the_hundredth() {
        for (total, days, text) in
            [(1, 31, "0.03"), (1, 200, "0.01"), (3, 200, "0.02"), (31, 31, "1"), (105, 10, "10.5")]
        {
            assert_eq!(Quantity::average(total, days).to_string(), text, "{total}/{days}");
        }
    }

    #[test]
    fn quantities_are_written_without_trailing_zeros() {
        for text in ["11", "10.5", "0", "-1", "-0.25", "100", "0.03"] {
            assert_eq!(text.parse::<Quantity>().unwrap().to_string(), text);
        }
        assert_eq!("10.50".parse::<Quantity>().unwrap().to_string(), "10.5");
        for text in
            ["", "1.", ".5", "1e3", "+1", "1.001", " 1", "1,5", "--1", "1000000000000000000000000000000000"]
        {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_unit_price_stands_as_it_was_written() {
        for text in ["2.10", "0", "4", "0.00010000", "007.50"] {
            assert_eq!(text.parse::<UnitPrice>().unwrap().to_string(), text);
        }
        for text in ["", "-1", "-0", "1e2", "2,10", "1000000001", "0.000000001", "NaN", "2.10 "] {
            assert!(text.parse::<UnitPrice>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_ratio_by_nothing_is_absent() {
        let decimal = |text: &str| text.parse::<Decimal>().unwrap();
        assert_eq!(decimal("1.00").ratio(decimal("0.00"), 4), Ok(None));
        assert_eq!(decimal("18.15").ratio(decimal("23.10"), 4).unwrap().unwrap().to_string(), "0.7857");
        assert_eq!(decimal("-1.00").ratio(decimal("8.00"), 4).unwrap().unwrap().to_string(), "-0.1250");
        assert_eq!(decimal("1.00").ratio(decimal("-8.00"), 4).unwrap().unwrap().to_string(), "-0.1250");
    }

    #[test]
    fn short_and_long_decimals_are_written_alike() {
        for (mantissa, scale, text) in [
            (0, 2, "0.00"),
            (-5, 2, "-0.05"),
            (7, 0, "7"),
            (i128::from(u64::MAX), 4, "1844674407370955.1615"),
            (i128::from(u64::MAX) + 1, 4, "1844674407370955.1616"),
            (-1, 19, "-0.0000000000000000001"),
            (12, 20, "0.00000000000000000012"),
            (i128::MIN, 2, "-1701411834604692317316873037158841057.28"),
        ] {
            assert_eq!(Decimal { mantissa, scale }.to_string(), text);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(Decimal::rounded(i128::MAX, 1, 0, 2), Err(TooLarge));
        let large = Quantity { hundredths: i128::MAX };
        assert_eq!(large.plus(Quantity::units(1)), Err(TooLarge));
        assert_eq!("2".parse::<UnitPrice>().unwrap().times(large, 2), Err(TooLarge));
    }
}
