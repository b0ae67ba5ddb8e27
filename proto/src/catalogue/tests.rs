//! What the catalogue promises.

use super::*;

#[test]
fn the_embedded_catalogue_parses_and_says_nothing_odd() {
    assert_eq!(Catalogue::embedded().version, 1);
    assert_eq!(Catalogue::embedded().lint(), []);
}
