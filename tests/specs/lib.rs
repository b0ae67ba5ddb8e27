//! The programs under test; the tests themselves are in main.rs.
