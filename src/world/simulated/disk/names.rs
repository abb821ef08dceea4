//! The tree of names: what is seen, what is stored, and per folder the ordered changes between the two.

use crate::disk::folder_of;
use crate::simulated::dice::Dice;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    File(u64),
    Folder,
}

#[derive(Debug, Clone)]
enum Change {
    Add(String, Entry),
    Rename(String, String),
    Remove(String),
}

/// Names by full path. The root is not among them.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    seen: BTreeMap<String, Entry>,
    stored: BTreeMap<String, Entry>,
    changes: BTreeMap<String, Unsynced>,
}

/// The changes in one folder that no sync has covered, and how many came before them.
#[derive(Debug, Clone, Default)]
struct Unsynced {
    covered: u64,
    changes: Vec<Change>,
}

fn apply(tree: &mut BTreeMap<String, Entry>, change: &Change) {
    match change {
        Change::Add(path, entry) => {
            tree.insert(path.clone(), *entry);
        }
        Change::Rename(from, to) => {
            if let Some(entry) = tree.remove(from) {
                tree.insert(to.clone(), entry);
            }
        }
        Change::Remove(path) => {
            tree.remove(path);
        }
    }
}

fn not_found(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no {path:?}"))
}

impl Names {
    pub fn get(&self, path: &str) -> io::Result<Entry> {
        self.seen.get(path).copied().ok_or_else(|| not_found(path))
    }

    pub fn file(&self, path: &str) -> io::Result<u64> {
        match self.get(path)? {
            Entry::File(number) => Ok(number),
            Entry::Folder => Err(io::Error::new(io::ErrorKind::IsADirectory, format!("{path:?} is a folder"))),
        }
    }

    fn check_folder(&self, folder: &str) -> io::Result<()> {
        if folder.is_empty() {
            return Ok(());
        }
        match self.get(folder)? {
            Entry::Folder => Ok(()),
            Entry::File(_) => Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{folder:?} is a file"))),
        }
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.seen, &change);
        let (Change::Add(path, _) | Change::Rename(path, _) | Change::Remove(path)) = &change;
        self.changes.entry(folder_of(path).to_owned()).or_default().changes.push(change);
    }

    pub fn add(&mut self, path: &str, entry: Entry) -> io::Result<()> {
        self.check_folder(folder_of(path))?;
        if self.seen.contains_key(path) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{path:?} exists")));
        }
        self.change(Change::Add(path.to_owned(), entry));
        Ok(())
    }

    /// Adds a folder and those above it.
    pub fn make_folder(&mut self, path: &str) -> io::Result<()> {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            let folder = &path[..end];
            match self.seen.get(folder) {
                Some(_) => self.check_folder(folder)?,
                None => self.change(Change::Add(folder.to_owned(), Entry::Folder)),
            }
        }
        Ok(())
    }

    /// Like `make_folder`, but durable at once.
    pub fn make_root(&mut self, path: &str) -> io::Result<()> {
        self.make_folder(path)?;
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            self.stored.insert(path[..end].to_owned(), Entry::Folder);
        }
        Ok(())
    }

    pub fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.file(from)?;
        if self.get(to).is_ok() {
            self.file(to)?;
        }
        self.change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    pub fn remove(&mut self, path: &str) -> io::Result<()> {
        self.file(path)?;
        self.change(Change::Remove(path.to_owned()));
        Ok(())
    }

    pub fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.check_folder(folder)?;
        let inside = self.seen.keys().filter(|path| folder_of(path) == folder);
        Ok(inside.map(|path| path[path.rfind('/').map_or(0, |at| at + 1)..].to_owned()).collect())
    }

    /// Checks the folder and says how many changes a sync that begins now covers.
    pub fn mark(&self, folder: &str) -> io::Result<u64> {
        self.check_folder(folder)?;
        Ok(self.changes.get(folder).map_or(0, |unsynced| unsynced.covered + unsynced.changes.len() as u64))
    }

    /// A sync of this folder has ended.
    pub fn store(&mut self, folder: &str, mark: u64) {
        let Some(unsynced) = self.changes.get_mut(folder) else { return };
        let count = mark.saturating_sub(unsynced.covered).min(unsynced.changes.len() as u64);
        unsynced.covered += count;
        for change in unsynced.changes.drain(..count as usize) {
            apply(&mut self.stored, &change);
        }
    }

    /// The same tree with other numbers for its files.
    pub fn renumbered(self, number: impl Fn(u64) -> u64) -> Names {
        let renumber = |entry: &mut Entry| match entry {
            Entry::File(old) => *old = number(*old),
            Entry::Folder => {}
        };
        let mut names = self;
        names.seen.values_mut().for_each(renumber);
        names.stored.values_mut().for_each(renumber);
        for change in names.changes.values_mut().flat_map(|unsynced| &mut unsynced.changes) {
            match change {
                Change::Add(_, entry) => renumber(entry),
                Change::Rename(..) | Change::Remove(_) => {}
            }
        }
        names
    }

    /// The power fails: each folder keeps a prefix of its changes. Returns whether any was lost.
    pub fn power_fail(&mut self, dice: &mut Dice) -> bool {
        let mut lost = false;
        for Unsynced { changes, .. } in self.changes.values_mut() {
            let kept = dice.below(changes.len() as u64 + 1) as usize;
            lost |= kept < changes.len();
            for change in &changes[..kept] {
                apply(&mut self.stored, change);
            }
            changes.clear();
        }
        *self = Names { changes: std::mem::take(&mut self.changes), ..self.surviving() };
        lost
    }

    /// The names that are there for certain after a power failure.
    pub fn surviving(&self) -> Names {
        // What is in a folder that was lost is lost with it. Parents sort before their children.
        let mut reachable: BTreeMap<String, Entry> = BTreeMap::new();
        for (path, entry) in &self.stored {
            let folder = folder_of(path);
            if folder.is_empty() || reachable.get(folder) == Some(&Entry::Folder) {
                reachable.insert(path.clone(), *entry);
            }
        }
        Names { seen: reachable.clone(), stored: reachable, changes: BTreeMap::new() }
    }

    /// Every file that a name stands for, or may come to stand for after a power failure.
    pub fn files_known(&self) -> BTreeSet<u64> {
        let number = |entry: &Entry| match entry {
            Entry::File(number) => Some(*number),
            Entry::Folder => None,
        };
        let mut known: BTreeSet<u64> = self.seen.values().chain(self.stored.values()).filter_map(number).collect();
        for change in self.changes.values().flat_map(|unsynced| &unsynced.changes) {
            match change {
                Change::Add(_, entry) => known.extend(number(entry)),
                Change::Rename(..) | Change::Remove(_) => {}
            }
        }
        known
    }

    /// The files that are seen, with their paths.
    pub fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        self.seen.iter().filter_map(|(path, entry)| match entry {
            Entry::File(number) => Some((path.as_str(), *number)),
            Entry::Folder => None,
        })
    }
}
