//! The pages to sign in on. Invariant: nothing on them runs, and whatever was sent is text on them.

/// With a name and a password.
pub fn password(to: &str, why_not: Option<&str>, has_provider: bool) -> String {
    let provider = if has_provider {
        format!(
            "<p><a href=\"/sign-in/oidc?to={}\">Sign in with the company account</a></p>\n",
            escaped_query(to)
        )
    } else {
        String::new()
    };
    let fields = "<p><label>Name <input name=\"name\" autocomplete=\"username\" required autofocus></label></p>\n\
         <p><label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label></p>\n\
         <p><label>Code, if you have an authenticator <input name=\"code\" inputmode=\"numeric\" \
         autocomplete=\"one-time-code\" maxlength=\"8\"></label></p>\n";
    page("/sign-in", to, why_not, fields, &provider)
}

/// With a code that is good once.
pub fn link(to: &str, why_not: Option<&str>) -> String {
    let fields = "<p><label>Code of the sign-in link <input name=\"code\" type=\"password\" \
         autocomplete=\"one-time-code\" required autofocus></label></p>\n";
    page("/sign-in/link", to, why_not, fields, "")
}

fn page(action: &str, to: &str, why_not: Option<&str>, fields: &str, more: &str) -> String {
    let why_not =
        why_not.map(|words| format!("<p role=\"alert\">{}</p>\n", escaped(words))).unwrap_or_default();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Sign in - Seatbeat</title>\n</head>\n<body>\n\
         <main>\n<h1>Sign in to Seatbeat</h1>\n{why_not}<form method=\"post\" action=\"{action}\">\n{fields}\
         <input type=\"hidden\" name=\"to\" value=\"{to}\">\n<p><button>Sign in</button></p>\n</form>\n{more}</main>\n\
         </body>\n</html>\n",
        to = escaped(to),
    )
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A value behind a `?`.
fn escaped_query(text: &str) -> String {
    openidconnect::url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_text() {
        let page = password("/\"><script>alert(1)</script>", Some("<b>"), true);
        assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
        assert!(page.contains("&quot;&gt;&lt;script&gt;") && page.contains("to=%2F%22%3E%3Cscript"));
        assert!(!link("/", None).contains("alert"));
    }
}
