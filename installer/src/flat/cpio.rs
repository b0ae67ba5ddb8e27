//! The portable format of `cpio` (POSIX.1-1988, "odc"), which payloads and scripts are in. Invariant: all is root's, of one
//! time, and numbered in order.

use anyhow::{Result, ensure};

use super::Node;

/// What the last entry is called.
const END: &str = "TRAILER!!!";

/// The archive's bytes.
///
/// # Errors
/// When a number does not fit the format's digits.
pub fn archive(nodes: &[Node<'_>], seconds: u64) -> Result<Vec<u8>> {
    let mut made = Vec::new();
    for (number, node) in (1..).zip(nodes) {
        let name = if node.path.is_empty() { ".".to_owned() } else { format!("./{}", node.path) };
        let links = if node.is_folder() { 2 } else { 1 };
        append(&mut made, &name, [number, u64::from(node.mode), links, seconds], node.bytes)?;
    }
    append(&mut made, END, [0, 0, 1, 0], &[])?;
    Ok(made)
}

fn append(
    made: &mut Vec<u8>,
    name: &str,
    [number, mode, links, seconds]: [u64; 4],
    bytes: &[u8],
) -> Result<()> {
    let (name_length, length) = (name.len() as u64 + 1, bytes.len() as u64);
    // Device, number, mode, user, group, links, device; time; lengths.
    let fields = [
        (0, 6),
        (number, 6),
        (mode, 6),
        (0, 6),
        (0, 6),
        (links, 6),
        (0, 6),
        (seconds, 11),
        (name_length, 6),
        (length, 11),
    ];
    made.extend(b"070707");
    for (value, digits) in fields {
        let text = format!("{value:0digits$o}");
        ensure!(text.len() == digits, "`{name}` is too large for a package ({value})");
        made.extend(text.bytes());
    }
    made.extend(name.bytes());
    made.push(0);
    made.extend(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_line_of_octal_numbers_a_name_and_its_bytes() {
        let file = Node { path: "a", mode: Node::FILE | 0o644, bytes: b"hi" };
        let made = archive(&[file], 8).unwrap();
        let (device, number, user, group, links) = ("000000", "000001", "000000", "000000", "000001");
        let head = ["070707", device, number, "100644", user, group, links, device, "00000000010"].concat();
        let end = ["070707", device, "000000000000000000000000", links, device, "00000000000000013"].concat();
        let expected = format!("{head}00000400000000002./a\0hi{end}00000000000TRAILER!!!\0");
        assert_eq!(String::from_utf8(made).unwrap(), expected);
        let old = Node { path: "a", mode: Node::FILE, bytes: b"" };
        assert!(archive(&[old], u64::MAX).is_err());
    }
}
