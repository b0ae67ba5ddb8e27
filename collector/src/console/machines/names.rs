//! The names of all machines as one text. Invariant: what is found in it are exactly the slots whose names have the words
//! in them. A search looks at one run of memory then, and at no machine that it does not find.

/// Between names: what has it in it is not searched for here.
const END: char = '\n';

/// See the module's text.
#[derive(Default)]
pub struct Names {
    text: String,
    /// Behind each name, by slot.
    ends: Vec<usize>,
}

impl Names {
    /// Of these names, by slot.
    pub fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut made = Self::default();
        for name in names {
            made.text.push_str(name);
            made.text.push(END);
            made.ends.push(made.text.len());
        }
        made
    }

    /// The slots whose names have `words` in them; none: they are more than `count_max`, or it cannot be told here.
    pub fn with(&self, words: &str, count_max: usize) -> Option<Vec<u32>> {
        if words.is_empty() || words.contains(END) {
            return None;
        }
        let (mut found, mut from) = (Vec::new(), 0);
        while let Some(at) = self.text.get(from..)?.find(words) {
            let slot = self.ends.partition_point(|end| *end <= from + at);
            if found.len() == count_max {
                return None;
            }
            found.push(u32::try_from(slot).ok()?);
            from = self.ends[slot];
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn found_is_what_each_name_has_in_it(
            names in prop::collection::vec("[abä\n]{0,4}", 0..12),
            words in "[abä]{1,2}",
            count_max in 0_usize..12,
        ) {
            let has: Vec<u32> =
                (0..).zip(&names).filter(|(_, name)| name.contains(&words)).map(|(slot, _)| slot).collect();
            let found = Names::of(names.iter().map(String::as_str)).with(&words, count_max);
            prop_assert_eq!(found, Some(has).filter(|has| has.len() <= count_max));
        }
    }

    #[test]
    fn words_that_reach_beyond_a_name_are_not_looked_for() {
        let names = Names::of(["a", "b"].into_iter());
        assert_eq!((names.with("a\nb", 9), names.with("", 9)), (None, None));
    }
}
