//! Forms with a file, as an upload has them. Invariant: what arrived is taken as it arrived, however much of it.

/// The file of a form's field. A form that breaks off gives what came of it.
pub fn file(content_type: &str, body: &[u8], field: &str) -> Result<Vec<u8>, &'static str> {
    let boundary = content_type
        .strip_prefix("multipart/form-data")
        .and_then(|rest| rest.split_once("boundary="))
        .map(|(_, boundary)| boundary.trim_matches('"'))
        .ok_or("No file was submitted: the request is no form.")?;
    let body = body
        .strip_prefix(format!("--{boundary}\r\n").as_bytes())
        .ok_or("No file was submitted: the form has no parts.")?;
    let head_end = position(body, b"\r\n\r\n").ok_or("No file was submitted: a part has no head.")?;
    let head = String::from_utf8_lossy(&body[..head_end]).to_lowercase();
    if !head.contains(&format!("name=\"{field}\"")) || !head.contains("filename=") {
        return Err("No file was submitted.");
    }
    if !head.contains("\r\ncontent-type:") {
        return Err("The submitted part has no type.");
    }
    let content = &body[head_end + 4..];
    let end = position(content, format!("\r\n--{boundary}--").as_bytes()).unwrap_or(content.len());
    Ok(content[..end].to_vec())
}

/// Whether all of a workbook is there: an archive begins and ends with marks of its own.
pub fn is_workbook(bytes: &[u8]) -> bool {
    let tail = &bytes[bytes.len().saturating_sub(64)..];
    bytes.starts_with(b"PK\x03\x04") && position(tail, b"PK\x05\x06").is_some()
}

fn position(bytes: &[u8], of: &[u8]) -> Option<usize> {
    bytes.windows(of.len()).position(|window| window == of)
}
