//! Values by machine id, on shelves of a few dozen that copies share until one of them changes.
//! Invariant: sorted by id; a copy costs one count a shelf, and a change copies no more than the shelf it is on.

use std::sync::Arc;

use seatbeat_proto::ids::MachineId;
use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most machines on a shelf: what one report has to copy while somebody else holds a copy of all.
const SHELF_MAX: usize = 32;

/// A shelf grows by this many places at a time: room that is never used is memory that is lost.
const GROWTH: usize = 4;

/// Values by machine id.
#[derive(Debug, Clone)]
pub struct Shelves<V> {
    shelves: Vec<Shelf<V>>,
    count: usize,
}

#[derive(Debug, Clone)]
struct Shelf<V> {
    /// Of the first machine on it.
    key: u64,
    kept: Arc<Vec<Kept<V>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept<V> {
    key: u64,
    id: MachineId,
    value: V,
}

/// Names that many values have in common are kept once.
pub trait Share {
    /// Replaces names by equal ones that are kept already.
    fn share(&mut self, names: &mut crate::names::SharedNames);
}

/// The beginning of an id as a number that sorts as the id does; most are told apart by it, without a look at the
/// text itself.
fn key_of(id: &MachineId) -> u64 {
    let mut key = [0; 8];
    let text = &id.as_str().as_bytes()[MachineId::PREFIX.len()..];
    let length = text.len().min(8);
    key[..length].copy_from_slice(&text[..length]);
    u64::from_be_bytes(key)
}

impl<V> Default for Shelves<V> {
    fn default() -> Self {
        Self { shelves: Vec::new(), count: 0 }
    }
}

impl<V> Shelves<V> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The value of a machine.
    pub fn get(&self, id: &MachineId) -> Option<&V> {
        let key = key_of(id);
        let shelf = self.shelves.get(self.shelf_of(key, id)?)?;
        let place = find(&shelf.kept, key, id).ok()?;
        Some(&shelf.kept[place].value)
    }

    /// Whether there is a value of a machine.
    pub fn contains_key(&self, id: &MachineId) -> bool {
        self.get(id).is_some()
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&MachineId, &V)> {
        self.shelves.iter().flat_map(|shelf| shelf.kept.iter().map(|kept| (&kept.id, &kept.value)))
    }

    /// One of several parts of about the same size, by id; together they are all.
    pub fn part(&self, part: usize, parts: usize) -> impl Iterator<Item = (&MachineId, &V)> {
        let begin = |part: usize| self.shelves.len() * part / parts;
        let shelves = &self.shelves[begin(part)..begin(part + 1)];
        shelves.iter().flat_map(|shelf| shelf.kept.iter().map(|kept| (&kept.id, &kept.value)))
    }

    /// Those behind an id; without one, all.
    pub fn after(&self, id: Option<&MachineId>) -> impl Iterator<Item = (&MachineId, &V)> {
        let start = id.and_then(|id| self.shelf_of(key_of(id), id)).unwrap_or(0);
        let behind = move |kept: &&Kept<V>| id.is_none_or(|id| kept.id > *id);
        let first = self.shelves.get(start).into_iter().flat_map(|shelf| shelf.kept.iter()).filter(behind);
        let rest = self.shelves.iter().skip(start + 1).flat_map(|shelf| shelf.kept.iter());
        first.chain(rest).map(|kept| (&kept.id, &kept.value))
    }

    /// The ids whose values are not the same in `other`, those that only one of them has included; only shelves
    /// that the two do not share are looked at.
    pub fn differing<'a>(&'a self, other: &'a Self) -> Vec<&'a MachineId>
    where
        V: PartialEq,
    {
        let mut shared: Vec<*const Vec<Kept<V>>> =
            other.shelves.iter().map(|shelf| Arc::as_ptr(&shelf.kept)).collect();
        shared.sort_unstable();
        let is_new = |shelf: &&Shelf<V>| shared.binary_search(&Arc::as_ptr(&shelf.kept)).is_err();
        let mut found: Vec<&MachineId> = Vec::new();
        for kept in self.shelves.iter().filter(is_new).flat_map(|shelf| shelf.kept.iter()) {
            if other.get(&kept.id) != Some(&kept.value) {
                found.push(&kept.id);
            }
        }
        found
    }

    /// The shelf that an id is on, or would be.
    fn shelf_of(&self, key: u64, id: &MachineId) -> Option<usize> {
        let behind = self.shelves.partition_point(|shelf| match shelf.key.cmp(&key) {
            std::cmp::Ordering::Equal => shelf.kept.first().is_some_and(|first| first.id <= *id),
            order => order.is_lt(),
        });
        if self.shelves.is_empty() { None } else { Some(behind.saturating_sub(1)) }
    }
}

impl<V: Clone> Shelves<V> {
    /// The value of a machine, to be changed.
    pub fn get_mut(&mut self, id: &MachineId) -> Option<&mut V> {
        let key = key_of(id);
        let at = self.shelf_of(key, id)?;
        let shelf = self.shelves.get_mut(at)?;
        let place = find(&shelf.kept, key, id).ok()?;
        Arc::make_mut(&mut shelf.kept).get_mut(place).map(|kept| &mut kept.value)
    }

    /// The value of a machine, made where there is none.
    pub fn get_or_default(&mut self, id: &MachineId) -> &mut V
    where
        V: Default,
    {
        let key = key_of(id);
        let (shelf, place) = self.place(key, id);
        let kept = Arc::make_mut(&mut self.shelves[shelf].kept);
        let place = match place {
            Ok(place) => place,
            Err(place) => {
                self.count += 1;
                put(kept, place, Kept { key, id: id.clone(), value: V::default() });
                place
            }
        };
        &mut kept[place].value
    }

    /// Puts a value in its place; the one that was there before.
    pub fn insert(&mut self, id: MachineId, value: V) -> Option<V> {
        let key = key_of(&id);
        let (shelf, place) = self.place(key, &id);
        let kept = Arc::make_mut(&mut self.shelves[shelf].kept);
        match place {
            Ok(place) => Some(std::mem::replace(&mut kept[place].value, value)),
            Err(place) => {
                self.count += 1;
                put(kept, place, Kept { key, id, value });
                let first = kept[0].key;
                self.shelves[shelf].key = first;
                None
            }
        }
    }

    /// The shelf and the place on it where an id is, or is to be: there is room there then.
    fn place(&mut self, key: u64, id: &MachineId) -> (usize, Result<usize, usize>) {
        let Some(at) = self.shelf_of(key, id) else {
            self.shelves.push(Shelf { key, kept: Arc::new(Vec::new()) });
            return (0, Err(0));
        };
        let place = find(&self.shelves[at].kept, key, id);
        if place.is_ok() || self.shelves[at].kept.len() < SHELF_MAX {
            if place == Err(0) {
                self.shelves[at].key = key;
            }
            return (at, place);
        }
        // Ids that come in order, as those of a file do, leave full shelves behind.
        if place == Err(SHELF_MAX) && at + 1 == self.shelves.len() {
            self.shelves.push(Shelf { key, kept: Arc::new(Vec::new()) });
            return (at + 1, Err(0));
        }
        let mut upper = Arc::make_mut(&mut self.shelves[at].kept).split_off(SHELF_MAX / 2);
        upper.shrink_to_fit();
        let key_above = upper[0].key;
        self.shelves.insert(at + 1, Shelf { key: key_above, kept: Arc::new(upper) });
        self.place(key, id)
    }
}

fn find<V>(kept: &[Kept<V>], key: u64, id: &MachineId) -> Result<usize, usize> {
    kept.binary_search_by(|one| one.key.cmp(&key).then_with(|| one.id.cmp(id)))
}

fn put<V>(kept: &mut Vec<Kept<V>>, place: usize, one: Kept<V>) {
    if kept.len() == kept.capacity() {
        kept.reserve_exact(GROWTH);
    }
    kept.insert(place, one);
}

impl<V: PartialEq> PartialEq for Shelves<V> {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.iter().eq(other.iter())
    }
}

impl<V: Eq> Eq for Shelves<V> {}

impl<V: Clone> std::ops::Index<&MachineId> for Shelves<V> {
    type Output = V;

    fn index(&self, id: &MachineId) -> &V {
        self.get(id).expect("who indexes knows the machine")
    }
}

impl<V: Serialize> Serialize for Shelves<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = serializer.serialize_seq(Some(self.count))?;
        for entry in self.iter() {
            all.serialize_element(&entry)?;
        }
        all.end()
    }
}

impl<'de, V: Deserialize<'de> + Clone + Share> Deserialize<'de> for Shelves<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(InOrder(std::marker::PhantomData))
    }
}

struct InOrder<V>(std::marker::PhantomData<V>);

impl<'de, V: Deserialize<'de> + Clone + Share> Visitor<'de> for InOrder<V> {
    type Value = Shelves<V>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("machines in the order of their ids")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Shelves<V>, A::Error> {
        let mut shelves = Shelves::default();
        let mut names = crate::names::SharedNames::default();
        let mut last: Option<MachineId> = None;
        while let Some((id, mut value)) = entries.next_element::<(MachineId, V)>()? {
            if last.as_ref().is_some_and(|last| *last >= id) {
                return Err(A::Error::custom("machines are not in the order of their ids"));
            }
            value.share(&mut names);
            last = Some(id.clone());
            shelves.insert(id, value);
        }
        Ok(shelves)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    impl Share for u32 {
        fn share(&mut self, _: &mut crate::names::SharedNames) {}
    }

    /// Ids of few beginnings, so that some share their first eight letters and some are the beginning of others.
    fn id(number: u64) -> MachineId {
        let tail = "x".repeat((number % 5) as usize);
        format!("mch_{:07}{}{tail}", number % 9, number / 9 % 50).parse().unwrap()
    }

    fn numbers(seed: u64, count: usize) -> Vec<u64> {
        let mut state = seed;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        std::iter::repeat_with(next).take(count).collect()
    }

    #[test]
    fn they_hold_what_an_ordinary_map_holds_in_the_same_order() {
        for seed in 0..20 {
            let (mut shelves, mut map) = (Shelves::default(), BTreeMap::new());
            for (at, number) in numbers(seed, 900).into_iter().enumerate() {
                let (id, at) = (id(number), at as u32);
                if number % 3 == 0 {
                    *shelves.get_or_default(&id) = at;
                    map.insert(id, at);
                } else {
                    assert_eq!(shelves.insert(id.clone(), at), map.insert(id, at));
                }
            }
            assert!(shelves.iter().eq(map.iter()) && shelves.len() == map.len());
            for parts in [1, 2, 7, 1000] {
                assert!(
                    (0..parts).flat_map(|part| shelves.part(part, parts)).eq(map.iter()),
                    "{parts} parts"
                );
            }
            for number in 0..500 {
                let id = id(number);
                assert_eq!(shelves.get(&id), map.get(&id));
                assert_eq!(shelves.get_mut(&id), map.get_mut(&id));
                use std::ops::Bound::{Excluded, Unbounded};
                assert!(shelves.after(Some(&id)).eq(map.range((Excluded(id.clone()), Unbounded))));
            }
            assert!(shelves.after(None).eq(map.iter()));
            let text = serde_json::to_string(&shelves).unwrap();
            assert_eq!(serde_json::from_str::<Shelves<u32>>(&text).unwrap(), shelves);
        }
    }

    #[test]
    fn a_copy_stays_as_it_was_and_tells_what_has_changed_since() {
        let mut shelves = Shelves::default();
        (0..400).for_each(|number| _ = shelves.insert(id(number), 0));
        let before = shelves.clone();
        let same = shelves.get(&id(7)).copied().unwrap();
        *shelves.get_mut(&id(7)).unwrap() = same;
        *shelves.get_mut(&id(9)).unwrap() = 5;
        let new: MachineId = "mch_new".parse().unwrap();
        shelves.insert(new.clone(), 6);
        assert_eq!(shelves.differing(&before), [&id(9), &new]);
        assert_eq!((before.get(&id(9)), before.get(&new)), (Some(&0), None));
    }

    #[test]
    fn machines_out_of_order_are_refused() {
        assert!(serde_json::from_str::<Shelves<u32>>(r#"[["mch_b",1],["mch_a",2]]"#).is_err());
    }
}
