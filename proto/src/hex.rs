//! Bytes as hexadecimal text. Invariant: text that parses is nothing but the digits of the bytes that come out.

/// Lower-case hexadecimal.
pub fn format(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)] as char, DIGITS[usize::from(byte & 15)] as char])
        .collect()
}

/// The bytes of hexadecimal text, when they are exactly `N`.
pub fn parse<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// The bytes of hexadecimal text, however many.
pub fn parse_all(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

fn digit(character: u8) -> Option<u8> {
    char::from(character).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_and_anything_else_is_refused() {
        assert_eq!(parse::<3>(&format(&[0, 127, 255])), Some([0, 127, 255]));
        for bad in ["", "00", "0000000", "00000g", "+00000"] {
            assert_eq!(parse::<3>(bad), None, "{bad}");
        }
        assert_eq!(parse_all(&format(&[1, 2])), Some(vec![1, 2]));
        assert_eq!((parse_all(""), parse_all("012"), parse_all("0g")), (Some(vec![]), None, None));
    }
}
