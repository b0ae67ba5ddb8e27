//! The bill of materials of a flat package, which a Mac keeps as its receipt: a store of numbered blocks, with trees of them
//! by name. Invariant: everything is big-endian; block 0 is none; paths are numbered from 1, each after its folder.
//!
//! Apple has published no description; this is as `bom.h` of bomutils and Apple's own files have it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

use super::Node;

/// Where blocks begin: the head is as long, most of it unused.
const HEAD_LENGTH: usize = 512;

/// Bytes of a tree's leaf.
const LEAF_LENGTH: u32 = 4096;

/// As [`LEAF_LENGTH`], of the tree that is an index of versions.
const SMALL_LEAF_LENGTH: u32 = 128;

/// Paths of one leaf; a package with more would want branches, and the agent's has eight.
const PATHS_MAX: usize = 256;

/// Bytes to be, big-endian.
#[derive(Default)]
struct Block(Vec<u8>);

impl Block {
    fn byte(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    fn short(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn word(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn text(mut self, text: &str) -> Self {
        self.0.extend(text.bytes());
        self
    }
}

/// The store while it is made.
#[derive(Default)]
struct Store {
    blocks: Vec<Vec<u8>>,
    names: Vec<(&'static str, u32)>,
}

impl Store {
    /// Its number.
    fn add(&mut self, block: Block) -> u32 {
        self.blocks.push(block.0);
        u32::try_from(self.blocks.len()).unwrap_or(u32::MAX)
    }

    /// A tree with one leaf: for each entry the block of what it is and the block that it is found by.
    fn tree(&mut self, entries: &[(u32, u32)], leaf_length: u32) -> u32 {
        let count = u16::try_from(entries.len()).unwrap_or(u16::MAX);
        let leaf = Block::default().short(1).short(count).word(0).word(0);
        let mut leaf = entries.iter().fold(leaf, |leaf, (what, by)| leaf.word(*what).word(*by));
        leaf.0.resize(leaf_length as usize, 0);
        let leaf = self.add(leaf);
        let tree =
            Block::default().text("tree").word(1).word(leaf).word(leaf_length).word(u32::from(count)).byte(0);
        self.add(tree)
    }

    fn name(&mut self, name: &'static str, block: u32) {
        self.names.push((name, block));
    }

    fn bytes(self) -> Vec<u8> {
        let mut vars = Block::default().word(self.names.len() as u32);
        for (name, block) in &self.names {
            vars = vars.word(*block).byte(name.len() as u8).text(name);
        }
        let mut made = vec![0; HEAD_LENGTH];
        // The table of blocks: the first is none. Behind it the list of free ones, which is empty but for two of none.
        let mut index = Block::default().word(self.blocks.len() as u32 + 1).word(0).word(0);
        for block in &self.blocks {
            index = index.word(made.len() as u32).word(block.len() as u32);
            made.extend(block);
        }
        let index = (0..4).fold(index.word(0), |index, _| index.word(0));
        let (vars_at, vars_length) = (made.len() as u32, vars.0.len() as u32);
        made.extend(vars.0);
        let (index_at, index_length) = (made.len() as u32, index.0.len() as u32);
        made.extend(index.0);
        let head = Block::default().text("BOMStore").word(1).word(self.blocks.len() as u32);
        let head = head.word(index_at).word(index_length).word(vars_at).word(vars_length);
        made[..head.0.len()].copy_from_slice(&head.0);
        made
    }
}

/// The bill's bytes.
///
/// # Errors
/// When there are more paths than one leaf holds, or a number does not fit.
pub fn bill(nodes: &[Node<'_>], seconds: u64) -> Result<Vec<u8>> {
    ensure!(nodes.len() <= PATHS_MAX, "{} paths are more than a bill of materials has room for", nodes.len());
    let time = u32::try_from(seconds).context("the time of the sources is none for a bill of materials")?;
    let mut store = Store::default();
    let about = Block::default().word(1).word(nodes.len() as u32 + 1).word(1);
    let about = store.add((0..4).fold(about, |about, _| about.word(0)));
    store.name("BomInfo", about);
    let mut entries = Vec::new();
    for (number, parent, node) in numbered(nodes)? {
        let what = store.add(described(node, time)?);
        let what = store.add(Block::default().word(number).word(what));
        let name = node.path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(".");
        let by = store.add(Block::default().word(parent).text(name).byte(0));
        entries.push((what, by));
    }
    let paths = store.tree(&entries, LEAF_LENGTH);
    store.name("Paths", paths);
    let links = store.tree(&[], LEAF_LENGTH);
    store.name("HLIndex", links);
    let versions = store.tree(&[], SMALL_LEAF_LENGTH);
    let versions = store.add(Block::default().word(1).word(versions).word(0).byte(0));
    store.name("VIndex", versions);
    let large = store.tree(&[], LEAF_LENGTH);
    store.name("Size64", large);
    Ok(store.bytes())
}

/// Each with its number and its folder's, in the order in which they are found: by folder, then by name.
fn numbered<'n, 'a>(nodes: &'n [Node<'a>]) -> Result<Vec<(u32, u32, &'n Node<'a>)>> {
    let depth = |path: &str| if path.is_empty() { 0 } else { 1 + path.matches('/').count() };
    let mut ordered: Vec<&Node<'a>> = nodes.iter().collect();
    ordered.sort_by_key(|node| (depth(node.path), node.path));
    let numbers: BTreeMap<&str, u32> = ordered.iter().map(|node| node.path).zip(1..).collect();
    let with_numbers = ordered.into_iter().map(|node| {
        let above = node.path.rsplit_once('/').map_or("", |(above, _)| above);
        let parent = if node.path.is_empty() { Some(&0) } else { numbers.get(above) };
        let parent = parent.with_context(|| format!("no folder of `{}` is packed", node.path))?;
        Ok((numbers[node.path], *parent, node))
    });
    with_numbers.collect()
}

fn described(node: &Node<'_>, time: u32) -> Result<Block> {
    const FILE: u8 = 1;
    const FOLDER: u8 = 2;
    let mode = u16::try_from(node.mode).with_context(|| format!("`{}` has an odd mode", node.path))?;
    let kind = if node.is_folder() { FOLDER } else { FILE };
    let length = u32::try_from(node.bytes.len()).with_context(|| format!("`{}` is too large", node.path))?;
    let sum = if node.is_folder() { 0 } else { cksum(node.bytes) };
    // What it is, for any processor, whose, of when; then its sum, and no link.
    let block = Block::default().byte(kind).byte(1).short(3).short(mode).word(0).word(0);
    Ok(block.word(time).word(length).byte(1).word(sum).word(0))
}

/// The sum of `cksum` (POSIX.1): CRC-32, most significant bit first, with the length behind the bytes.
fn cksum(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x04C1_1DB7;
    let table: [u32; 256] = std::array::from_fn(|byte| {
        (0..8).fold((byte as u32) << 24, |sum, _| (sum << 1) ^ if sum >> 31 == 1 { POLYNOMIAL } else { 0 })
    });
    let length = (bytes.len() as u64).to_le_bytes();
    let used = length.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let of = |sum: u32, byte: &u8| (sum << 8) ^ table[((sum >> 24) ^ u32::from(*byte)) as usize];
    !bytes.iter().chain(&length[..used]).fold(0, of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_cksum() {
        for (bytes, expected) in [("", 4_294_967_295), ("123456789", 930_766_865), ("a\n", 2_418_082_923)] {
            assert_eq!(cksum(bytes.as_bytes()), expected, "{bytes}");
        }
    }

    #[test]
    fn a_path_comes_after_its_folder_and_beside_its_neighbours() {
        let folder = |path| Node { path, mode: Node::FOLDER | 0o755, bytes: &[] };
        let nodes = ["", "a", "a/z", "a/z/q", "b", "b/c"].map(folder);
        let found = numbered(&nodes).unwrap();
        let found: Vec<_> =
            found.iter().map(|(number, parent, node)| (*number, *parent, node.path)).collect();
        let expected = [(1, 0, ""), (2, 1, "a"), (3, 1, "b"), (4, 2, "a/z"), (5, 3, "b/c"), (6, 4, "a/z/q")];
        assert_eq!(found, expected);
        assert!(numbered(&[folder("lost/one")]).is_err());
    }
}
