//! Canonical JSON (RFC 8785) for what a statement holds: text, whole numbers, lists, objects.
//! Invariant: equal values give equal bytes. A number with a fraction, or too large for every reader to tell from
//! its neighbour, has no form here and is refused.

use serde::Serialize;
use serde_json::Value;

/// Largest whole number that RFC 8785's number form keeps apart from its neighbours.
const WHOLE_MAX: u64 = (1 << 53) - 1;

/// A value that has no canonical form here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JcsError {
    /// A number that is no whole one of at most 53 bits.
    #[error("`{0}` is not a whole number below 2^53")]
    Number(String),
    /// A value that is not JSON, such as a map whose keys are not text.
    #[error("failed to turn the value into JSON: {0}")]
    Value(String),
}

/// The canonical form of a value.
pub fn to_canonical(value: &impl Serialize) -> Result<String, JcsError> {
    let value = serde_json::to_value(value).map_err(|error| JcsError::Value(error.to_string()))?;
    let mut text = String::new();
    write_value(&value, &mut text)?;
    Ok(text)
}

fn write_value(value: &Value, text: &mut String) -> Result<(), JcsError> {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(truth) => text.push_str(if *truth { "true" } else { "false" }),
        Value::Number(number) => {
            let size = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            if size.is_none_or(|size| size > WHOLE_MAX) {
                return Err(JcsError::Number(number.to_string()));
            }
            text.push_str(&number.to_string());
        }
        Value::String(string) => write_string(string, text),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_value(item, text)?;
            }
            text.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
            text.push('{');
            for (index, (name, value)) in fields.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_string(name, text);
                text.push(':');
                write_value(value, text)?;
            }
            text.push('}');
        }
    }
    Ok(())
}

fn write_string(string: &str, text: &mut String) {
    text.push('"');
    for letter in string.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\u{c}' => text.push_str("\\f"),
            '\r' => text.push_str("\\r"),
            control if control < ' ' => text.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => text.push(other),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, canonical: &str) {
        let value: Value = serde_json::from_str(json).unwrap();
        assert_eq!(to_canonical(&value).unwrap(), canonical);
    }

    #[test]
    fn keys_are_sorted_by_utf16_units_as_in_rfc_8785_section_3_2_3() {
        check(
            r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",
                "\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#,
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\
             \"\u{f6}\":\"Latin Small Letter O With Diaeresis\",\"\u{20ac}\":\"Euro Sign\",\
             \"\u{1f600}\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}",
        );
    }

    #[test]
    fn strings_are_escaped_as_in_rfc_8785_section_3_2_2() {
        check(
            r#"{"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#,
            "{\"literals\":[null,true,false],\"string\":\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}",
        );
        check(r#"["\b\t\n\f\r\u0000\u001f\u007f"]"#, "[\"\\b\\t\\n\\f\\r\\u0000\\u001f\u{7f}\"]");
    }

    #[test]
    fn whole_numbers_stand_plainly_and_space_goes() {
        check(
            " { \"b\" : [ 1 , -7 , 0 , 9007199254740991 ] , \"a\" : { } } ",
            r#"{"a":{},"b":[1,-7,0,9007199254740991]}"#,
        );
        check("[]", "[]");
    }

    #[test]
    fn numbers_that_readers_may_take_differently_are_refused() {
        for json in ["1.5", "1e30", "9007199254740992", "-9007199254740992", "18446744073709551615", "1.0"] {
            let value: Value = serde_json::from_str(json).unwrap();
            assert!(matches!(to_canonical(&value), Err(JcsError::Number(_))), "{json}");
        }
    }
}
