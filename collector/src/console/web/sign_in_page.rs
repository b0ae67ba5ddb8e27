//! The pages to sign in on. Invariant: nothing on them runs, and whatever was sent is text on them.

use askama::Template;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn<'a> {
    action: &'static str,
    by_link: bool,
    to: &'a str,
    code: &'a str,
    why_not: Option<&'a str>,
    has_provider: bool,
}

/// With a name and a password.
pub fn password(to: &str, why_not: Option<&str>, has_provider: bool) -> String {
    SignIn { action: "/sign-in", by_link: false, to, code: "", why_not, has_provider }
        .render()
        .expect("words are text")
}

/// With a code that is good once; empty: it is to be typed in.
pub fn link(to: &str, code: &str, why_not: Option<&str>) -> String {
    SignIn { action: "/sign-in/link", by_link: true, to, code, why_not, has_provider: false }
        .render()
        .expect("words are text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_text() {
        let page = password("/\"><script>alert(1)</script>", Some("<b>"), true);
        assert!(!page.contains("<script>alert") && !page.contains("<b>"), "{page}");
        assert!(page.contains("to=%2F%22%3E%3Cscript"), "{page}");
        assert!(!link("/", "", None).contains("role=\"alert\""));
        assert!(!link("/", "\"><script>x", None).contains("<script>"));
    }
}
