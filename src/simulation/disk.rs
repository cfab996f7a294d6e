//! A disk that can lose its power: every change is taken down, and after a cut the folder is put back as a file system
//! may leave it.
//!
//! Two kinds of file systems are played. `Journalled` keeps names in the order in which they changed, and every flush
//! makes all earlier ones durable (ext4, xfs, btrfs, APFS). `Minimal` promises what POSIX does and no more: a name is
//! durable when its own folder was flushed. Bytes that were not flushed are kept, lost, cut or replaced by zeros, one
//! write at a time, on both.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;
use std::{fs, io};

use fastrand::Rng;
use tokio::sync::Notify;

use crate::edge::system::trace::{Change, Witness};

use super::universe::Locks;

/// How names become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileSystem {
    /// In order, with every flush.
    Journalled,
    /// With the flush of their folder alone.
    Minimal,
}

/// How a life ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crash {
    /// The process is killed: what it did stays done.
    Kill,
    /// A power cut: what was not flushed may be lost in any combination.
    PowerCut,
}

/// The disk below one folder, as it is and as it would be after a cut.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    file_system: FileSystem,
    locks: Locks,
    state: RefCell<State>,
    died: Notify,
}

#[derive(Debug, Default, Clone)]
struct State {
    nodes: Vec<Node>,
    by_inode: HashMap<u64, usize>,
    /// What is where now: a node, or a folder.
    names: Names,
    /// What was where when everything was durable.
    durable: Names,
    /// Changes of names since then, and whether each is durable.
    pending: Vec<(NameChange, bool)>,
    changes: u64,
    dies_at: Option<u64>,
    dead: bool,
    trace: Option<Vec<String>>,
}

type Names = BTreeMap<PathBuf, Option<usize>>;

#[derive(Debug, Default, Clone)]
struct Node {
    durable: Vec<u8>,
    unflushed: Vec<Write>,
    current: Vec<u8>,
}

#[derive(Debug, Clone)]
enum Write {
    Bytes { offset: usize, bytes: Vec<u8> },
    Emptied,
}

#[derive(Debug, Clone)]
enum NameChange {
    Placed(PathBuf, Option<usize>),
    Moved(PathBuf, PathBuf),
    Removed(PathBuf),
}

impl NameChange {
    /// The folders whose names it changes.
    fn folders(&self) -> Vec<&Path> {
        match self {
            Self::Placed(path, _) | Self::Removed(path) => vec![parent(path)],
            Self::Moved(from, to) => vec![parent(from), parent(to)],
        }
    }

    fn apply(&self, names: &mut Names) {
        match self {
            Self::Placed(path, node) => {
                names.insert(path.clone(), *node);
            }
            Self::Moved(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
            Self::Removed(path) => {
                names.remove(path);
            }
        }
    }
}

impl Write {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Bytes { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
            Self::Emptied => content.clear(),
        }
    }
}

impl Disk {
    /// Takes in what is below `root` now; all of it is durable.
    pub(super) fn new(root: &Path, file_system: FileSystem, locks: Locks) -> Rc<Self> {
        let mut state = State::default();
        for (path, bytes) in walk(root) {
            let node = bytes.map(|bytes| {
                let inode = inode(&path);
                // Two names of one file are one file.
                *state.by_inode.entry(inode).or_insert_with(|| {
                    state.nodes.push(Node { durable: bytes.clone(), current: bytes, unflushed: Vec::new() });
                    state.nodes.len() - 1
                })
            });
            state.names.insert(path, node);
        }
        state.durable = state.names.clone();
        Rc::new(Self {
            root: root.to_path_buf(),
            file_system,
            locks,
            state: RefCell::new(state),
            died: Notify::new(),
        })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Lets the disk die before the change of this number, counted from now, or not at all.
    pub(super) fn die_before(&self, change: Option<u64>) {
        let mut state = self.state.borrow_mut();
        state.dies_at = change.map(|change| state.changes + change);
    }

    /// Keeps what happens as text.
    pub(super) fn trace(&self) {
        self.state.borrow_mut().trace = Some(Vec::new());
    }

    /// Returns what happened since the last time it was asked, as text.
    pub(super) fn journal(&self) -> Vec<String> {
        self.state.borrow_mut().trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn is_dead(&self) -> bool {
        self.state.borrow().dead
    }

    /// Waits until it dies.
    pub(super) async fn died(&self) {
        let died = self.died.notified();
        if !self.is_dead() {
            died.await;
        }
    }

    /// Checks that every change that was made was seen.
    pub(super) fn assert_all_was_seen(&self) {
        let state = self.state.borrow();
        let seen: BTreeMap<PathBuf, Option<Vec<u8>>> = state
            .names
            .iter()
            .map(|(path, node)| (path.clone(), node.map(|node| state.nodes[node].current.clone())))
            .collect();
        let there = walk(&self.root);
        for (path, bytes) in &there {
            assert!(seen.get(path) == Some(bytes), "`{}` was changed unseen", path.display());
        }
        for path in seen.keys() {
            assert!(there.contains_key(path), "`{}` went unseen", path.display());
        }
    }

    /// Puts the folder back as it is after a crash, and returns the disk that is found then.
    pub(super) fn after(&self, crash: Crash, random: &mut Rng) -> Rc<Self> {
        let state = self.state.borrow();
        if crash == Crash::Kill {
            // A kill makes nothing durable: what was not flushed may still be lost by a later cut.
            let mut state = State { dies_at: None, dead: false, trace: None, ..state.clone() };
            for (path, node) in &state.names {
                // A file that was being staged is removed by its owner, unseen by a disk that is dead.
                if let Some(node) = node.filter(|_| !path.exists()) {
                    fs::write(path, &state.nodes[node].current).unwrap();
                    state.by_inode.insert(inode(path), node);
                }
            }
            return Rc::new(self.with(state));
        }
        let names = state.names_after_cut(self.file_system, random);
        let times: BTreeMap<usize, SystemTime> = state
            .names
            .iter()
            .filter_map(|(path, node)| Some(((*node)?, fs::metadata(path).ok()?.modified().ok()?)))
            .collect();
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        }
        let mood = random.u8(..3);
        let mut placed: HashMap<usize, PathBuf> = HashMap::new();
        for (path, node) in &names {
            // A name below a folder that is not there is not there either.
            if !parent(path).is_dir() {
                continue;
            }
            let Some(node) = node else {
                fs::create_dir(path).unwrap();
                continue;
            };
            if let Some(first) = placed.get(node) {
                fs::hard_link(first, path).unwrap();
                continue;
            }
            let content = &state.nodes[*node];
            fs::write(path, content.after_cut(mood, random)).unwrap();
            // Time stamps are flushed with bytes, or not.
            if let Some(time) = times.get(node).filter(|_| random.u8(..4) > 0) {
                fs::File::options().write(true).open(path).unwrap().set_modified(*time).unwrap();
            }
            placed.insert(*node, path.clone());
        }
        Self::new(&self.root, self.file_system, self.locks)
    }

    /// The same disk in another state.
    fn with(&self, state: State) -> Self {
        Self {
            root: self.root.clone(),
            file_system: self.file_system,
            locks: self.locks,
            state: RefCell::new(state),
            died: Notify::new(),
        }
    }
}

impl State {
    fn names_after_cut(&self, file_system: FileSystem, random: &mut Rng) -> Names {
        let mut names = self.durable.clone();
        match file_system {
            FileSystem::Journalled => {
                let durable =
                    self.pending.iter().rposition(|(_, durable)| *durable).map_or(0, |last| last + 1);
                let kept = random.usize(durable..=self.pending.len());
                for (change, _) in &self.pending[..kept] {
                    change.apply(&mut names);
                }
            }
            FileSystem::Minimal => {
                // Within a folder the order holds; what is lost there takes everything after it along.
                let durable = self.durable_closure();
                let mut broken: BTreeSet<&Path> = BTreeSet::new();
                for (at, (change, _)) in self.pending.iter().enumerate() {
                    let folders = change.folders();
                    let possible = !folders.iter().any(|folder| broken.contains(folder));
                    if durable.contains(&at) || (possible && random.bool()) {
                        change.apply(&mut names);
                    } else {
                        broken.extend(folders);
                    }
                }
            }
        }
        names
    }

    /// The changes that are durable, and those that they rest on.
    fn durable_closure(&self) -> BTreeSet<usize> {
        let mut durable = BTreeSet::new();
        let mut needed: BTreeSet<&Path> = BTreeSet::new();
        for (at, (change, is_durable)) in self.pending.iter().enumerate().rev() {
            let folders = change.folders();
            if *is_durable || folders.iter().any(|folder| needed.contains(folder)) {
                needed.extend(folders);
                durable.insert(at);
            }
        }
        durable
    }

    fn flush_names(&mut self, of: impl Fn(&NameChange) -> bool) {
        for (change, durable) in &mut self.pending {
            *durable |= of(change);
        }
        if self.pending.iter().all(|(_, durable)| *durable) {
            for (change, _) in self.pending.drain(..) {
                change.apply(&mut self.durable);
            }
        }
    }

    fn node(&mut self, inode: u64) -> Option<&mut Node> {
        let index = *self.by_inode.get(&inode)?;
        self.nodes.get_mut(index)
    }

    fn rename(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending.push((change, false));
    }
}

impl Node {
    /// `mood` 0 keeps nothing that was not flushed, 1 everything, 2 one or the other for each write.
    fn after_cut(&self, mood: u8, random: &mut Rng) -> Vec<u8> {
        let mut content = self.durable.clone();
        for write in &self.unflushed {
            match (mood, random.u8(..4), write) {
                (0, ..) | (2, 0, _) => {}
                (2, 1, Write::Bytes { offset, bytes }) => {
                    let kept = random.usize(..=bytes.len());
                    Write::Bytes { offset: *offset, bytes: bytes[..kept].to_vec() }.apply(&mut content);
                }
                // The length is there before the bytes are.
                (2, 2, Write::Bytes { offset, bytes }) => {
                    let end = offset + bytes.len();
                    if content.len() < end {
                        content.resize(end, 0);
                    }
                }
                (_, _, write) => write.apply(&mut content),
            }
        }
        content
    }
}

impl Witness for Disk {
    fn grants_every_lock(&self) -> bool {
        self.locks == Locks::AreGranted
    }

    fn allow(&self) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        if state.dies_at.is_some_and(|at| state.changes >= at) {
            state.dead = true;
            self.died.notify_waiters();
        }
        if state.dead { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    fn saw(&self, change: Change) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        state.changes += 1;
        if let Some(trace) = &mut state.trace {
            trace.push(describe(&change, &self.root, state.changes, &state.by_inode));
        }
        match change {
            Change::Opened { path, node } => {
                if !state.names.contains_key(&path) {
                    state.nodes.push(Node::default());
                    let index = state.nodes.len() - 1;
                    state.by_inode.insert(node, index);
                    state.rename(NameChange::Placed(path, Some(index)));
                }
            }
            Change::Written { node, offset, bytes } => {
                if let Some(node) = state.node(node) {
                    let offset = offset.and_then(|offset| usize::try_from(offset).ok());
                    let offset = offset.unwrap_or(node.current.len());
                    let write = Write::Bytes { offset, bytes };
                    write.apply(&mut node.current);
                    node.unflushed.push(write);
                }
            }
            Change::Emptied { node } => {
                if let Some(node) = state.node(node) {
                    node.current.clear();
                    node.unflushed.push(Write::Emptied);
                }
            }
            Change::Flushed { node } => {
                if let Some(node) = state.node(node) {
                    node.unflushed.clear();
                    node.durable.clone_from(&node.current);
                }
                if self.file_system == FileSystem::Journalled {
                    state.flush_names(|_| true);
                }
            }
            Change::FolderFlushed { path } => match self.file_system {
                FileSystem::Journalled => state.flush_names(|_| true),
                FileSystem::Minimal => state.flush_names(|change| change.folders().contains(&path.as_path())),
            },
            Change::FolderMade { path } => state.rename(NameChange::Placed(path, None)),
            Change::Renamed { from, to } => state.rename(NameChange::Moved(from, to)),
            Change::Linked { from, to } => {
                let node = state.names.get(&from).copied().flatten();
                state.rename(NameChange::Placed(to, node));
            }
            Change::Removed { path } => state.rename(NameChange::Removed(path)),
        }
    }
}

fn describe(change: &Change, root: &Path, number: u64, known: &HashMap<u64, usize>) -> String {
    // Numbers of inodes differ from run to run.
    let index = |node: &u64| known.get(node).map_or_else(|| "new".to_owned(), usize::to_string);
    // The folder above has another name each time.
    let short = |path: &Path| {
        path.strip_prefix(root).map_or_else(|_| "above".to_owned(), |below| below.display().to_string())
    };
    let what = match change {
        Change::Opened { path, .. } => format!("open {}", short(path)),
        Change::Written { node, offset, bytes } => {
            format!("write {} bytes at {offset:?} of node {}", bytes.len(), index(node))
        }
        Change::Emptied { node } => format!("empty node {}", index(node)),
        Change::Flushed { node } => format!("flush node {}", index(node)),
        Change::FolderFlushed { path } => format!("flush folder {}", short(path)),
        Change::FolderMade { path } => format!("make folder {}", short(path)),
        Change::Renamed { from, to } => format!("rename {} to {}", short(from), short(to)),
        Change::Linked { from, to } => format!("link {} to {}", short(from), short(to)),
        Change::Removed { path } => format!("remove {}", short(path)),
    };
    format!("disk {number}: {what}")
}

/// Everything below a folder, folders before what is in them; `None` for folders.
pub(super) fn walk(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path.clone());
                found.insert(path, None);
            } else {
                let bytes = fs::read(&path).unwrap_or_default();
                found.insert(path, Some(bytes));
            }
        }
    }
    found
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

#[cfg(unix)]
fn inode(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| std::os::unix::fs::MetadataExt::ino(&metadata))
}
#[cfg(not(unix))]
fn inode(_: &Path) -> u64 {
    0
}
