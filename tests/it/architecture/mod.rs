//! The walls between the layers and rooms, read from the `use` trees and paths of the sources, and the map of
//! `ARCHITECTURE.md`, which must be what the first lines of the modules are.

mod blocking;
mod ignored;
mod map;
mod planted;
mod source;

use std::collections::{BTreeMap, BTreeSet};

use source::{Source, sources};

/// Which paths may not appear in which rooms. A room is a module path below the crate, and what is below it.
struct Wall {
    /// Why it is there.
    rule: &'static str,
    rooms: &'static [&'static str],
    /// Rooms and files of those above that are exempt.
    except: &'static [&'static str],
    forbidden: &'static [&'static str],
}

const WALLS: &[Wall] = &[
    Wall {
        rule: "model imports nothing of ours but errors",
        rooms: &["model"],
        except: &[],
        forbidden: &["crate::decide", "crate::edge", "crate::engine", "crate::cli", "crate::simulator"],
    },
    Wall {
        rule: "decide imports model alone",
        rooms: &["decide"],
        except: &[],
        forbidden: &["crate::edge", "crate::engine", "crate::cli", "crate::simulator"],
    },
    Wall {
        rule: "edge imports model alone",
        rooms: &["edge"],
        except: &[],
        forbidden: &["crate::decide", "crate::engine", "crate::cli", "crate::simulator"],
    },
    Wall {
        rule: "the engine does not know who runs it",
        rooms: &["engine"],
        except: &[],
        forbidden: &["crate::cli", "crate::simulator"],
    },
    Wall {
        rule: "the simulator is independent of what it tests",
        rooms: &["simulator"],
        except: &[],
        forbidden: &["crate::cli", "crate::engine", "crate::edge"],
    },
    Wall {
        rule: "model and decide are pure: no runtime, disk, network, clock, lock, environment or randomness",
        rooms: &["model", "decide"],
        except: &[],
        forbidden: &[
            "tokio",
            "reqwest",
            "hyper",
            "notify",
            "tempfile",
            "tracing",
            "rustix",
            "object_store",
            "std::fs",
            "std::net::TcpStream",
            "std::net::TcpListener",
            "std::net::UdpSocket",
            "std::net::ToSocketAddrs",
            "std::env",
            "std::process",
            "std::thread",
            "std::time::Instant",
            "std::time::SystemTime::now",
            "std::io::stdout",
            "std::io::stderr",
            "std::io::stdin",
            "std::sync::Mutex",
            "std::sync::RwLock",
            "std::sync::Condvar",
            "std::sync::atomic",
            "std::sync::mpsc",
            "fastrand::u",
            "fastrand::Rng::new",
        ],
    },
    Wall {
        rule: "only edge uses the HTTP library",
        rooms: &["model", "decide", "engine", "cli"],
        except: &[],
        forbidden: &["reqwest"],
    },
    Wall {
        rule: "only edge::bucket names the object store library",
        rooms: &["model", "decide", "engine", "cli", "edge"],
        except: &["edge::bucket"],
        forbidden: &["object_store"],
    },
    Wall {
        rule: "the destination knows nothing of transfers, runs and outputs",
        rooms: &["engine::destination"],
        except: &[],
        forbidden: &["crate::engine::transfer", "crate::engine::mirror", "crate::engine::outputs"],
    },
    Wall {
        rule: "transfers know nothing of runs and outputs",
        rooms: &["engine::transfer"],
        except: &[],
        forbidden: &["crate::engine::mirror", "crate::engine::outputs"],
    },
    Wall {
        rule: "outputs know nothing of runs",
        rooms: &["engine::outputs"],
        except: &[],
        forbidden: &["crate::engine::mirror", "crate::engine::transfer"],
    },
    // A change that goes past `disk` and `directory` is one that the simulation does not see, so nothing proves what a crash leaves of
    // it. Files outside of DIR (ComfyUI's) are `link`'s.
    Wall {
        rule: "only edge::system::disk, directory and link change files",
        rooms: &["edge", "engine", "cli"],
        except: &["edge::system::disk", "edge::system::directory", "edge::system::link"],
        forbidden: &[
            "std::fs::rename",
            "std::fs::remove_file",
            "std::fs::remove_dir",
            "std::fs::remove_dir_all",
            "std::fs::write",
            "std::fs::hard_link",
            "std::fs::create_dir",
            "std::fs::create_dir_all",
            "std::fs::copy",
            "std::fs::File::create",
            ".set_len",
            ".sync_all",
            ".sync_data",
            ".persist",
        ],
    },
];

fn is_below(path: &str, room: &str) -> bool {
    path.strip_prefix(room).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Returns each breach of a wall as one line.
fn breaches(walls: &[Wall], sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for wall in walls {
        let inside = |source: &&Source| {
            wall.rooms.iter().any(|room| is_below(&source.module, room))
                && !wall.except.iter().any(|room| is_below(&source.module, room))
        };
        for source in sources.iter().filter(inside) {
            for used in &source.uses {
                if wall.forbidden.iter().any(|path| is_below(used, path)) {
                    found.push(format!("{} uses `{used}`: {}", source.module, wall.rule));
                }
            }
        }
    }
    found
}

/// Rooms of the library, in which neither texts nor documentation may name an option or a command of the program: its
/// users call functions.
const WITHOUT_A_COMMAND_LINE: [&str; 6] = ["model", "decide", "edge", "engine", "error", "lib"];

/// Returns each text of the library that names an option (` --word`) or a command (`` `rcsync `` and a word).
fn words_of_the_command_line(sources: &[Source]) -> Vec<String> {
    let of_library =
        |source: &&Source| WITHOUT_A_COMMAND_LINE.iter().any(|room| is_below(&source.module, room));
    let is_option = |text: &str, at: usize| {
        let before = text[..at].chars().next_back();
        let after = text[at + 2..].chars().next();
        before.is_none_or(|c| c == '`' || c == '(' || c.is_whitespace())
            && after.is_some_and(|c| c.is_ascii_lowercase())
    };
    let names_one =
        |text: &str| text.contains("`rcsync ") || text.match_indices("--").any(|(at, _)| is_option(text, at));
    let mut found = Vec::new();
    for source in sources.iter().filter(of_library) {
        found.extend(
            source
                .texts
                .iter()
                .filter(|text| names_one(text))
                .map(|text| format!("{}: {text}", source.module)),
        );
    }
    found
}

#[test]
fn the_library_names_no_option_and_no_command() {
    let found = words_of_the_command_line(&sources());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_walls_hold() {
    let breaches = breaches(WALLS, &sources());
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

/// Files of the engine that import from another room of it, each with that room. The number only ever gets smaller: a value
/// that two rooms need belongs to `model` or `decide`, an effect to `edge`, and what several loops use is beside the rooms.
const MOST_IMPORTS_BETWEEN_ROOMS: usize = 18;

fn inside_engine(source: &Source) -> Option<&str> {
    source.module.strip_prefix("engine::")
}

/// Returns what a path means: a part of it may be a name that another module imports, from wherever the thing is.
fn meaning(used: &str, aliases: &BTreeMap<&str, &str>) -> String {
    let mut path = used.to_owned();
    // An alias may mean another one; a circle of them would not compile.
    for _ in 0..8 {
        let ends = path.match_indices("::").map(|(at, _)| at).chain([path.len()]);
        let Some((end, meant)) = ends.filter_map(|end| Some((end, *aliases.get(&path[..end])?))).last()
        else {
            break;
        };
        path = format!("{meant}{}", &path[end..]);
    }
    path
}

/// Returns each file of the engine with another room that it imports from.
fn imports_between_rooms(sources: &[Source]) -> BTreeSet<(&str, &str)> {
    let rooms: BTreeSet<&str> =
        sources.iter().filter_map(|source| Some(inside_engine(source)?.split_once("::")?.0)).collect();
    let aliases = sources.iter().flat_map(|source| &source.aliases);
    let aliases = aliases.map(|(name, meant)| (name.as_str(), meant.as_str())).collect();
    let mut found = BTreeSet::new();
    for source in sources {
        // A file beside the rooms is none of them.
        let own = inside_engine(source).and_then(|module| module.split("::").next());
        let Some(own) = own.filter(|own| rooms.contains(own)) else { continue };
        for used in source.uses.iter().filter(|used| used.starts_with("crate::engine::")) {
            let used = meaning(used, &aliases);
            let Some(used) = used.strip_prefix("crate::engine::") else { continue };
            let other = used.split("::").next().and_then(|first| rooms.get(first));
            found.extend(other.filter(|other| **other != own).map(|other| (source.module.as_str(), *other)));
        }
    }
    found
}

#[test]
fn rooms_of_the_engine_import_little_from_each_other() {
    let sources = sources();
    let imports = imports_between_rooms(&sources);
    let lines: Vec<String> = imports.iter().map(|(module, room)| format!("{module} from {room}")).collect();
    let text = lines.join("\n");
    assert_eq!(
        imports.len(),
        MOST_IMPORTS_BETWEEN_ROOMS,
        "where there are fewer now, lower the number:\n{text}"
    );
}

/// Returns groups of modules that import each other in a circle. A module and those below it count as one: a parent may
/// use its children, and they its types.
fn circles(sources: &[Source]) -> Vec<Vec<String>> {
    let modules: BTreeSet<&str> = sources.iter().map(|source| source.module.as_str()).collect();
    let owner = |path: &str| {
        let mut path = path.strip_prefix("crate::")?;
        loop {
            if modules.contains(path) {
                return Some(path.to_owned());
            }
            path = path.rsplit_once("::")?.0;
        }
    };
    let related = |one: &str, other: &str| is_below(one, other) || is_below(other, one);
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        let targets = source.uses.iter().filter_map(|used| owner(used));
        let targets: Vec<String> = targets.filter(|target| !related(target, &source.module)).collect();
        // What a module below it imports, a parent imports, too.
        for module in
            modules.iter().filter(|module| source.module == **module || is_below(&source.module, module))
        {
            let targets = targets.iter().filter(|target| !related(target, module)).cloned();
            edges.entry((*module).to_owned()).or_default().extend(targets);
        }
    }
    let reach = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<String> = edges.get(from).into_iter().flatten().cloned().collect();
        while let Some(module) = next.pop() {
            if seen.insert(module.clone()) {
                next.extend(edges.get(&module).into_iter().flatten().cloned());
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<String>> = modules.iter().map(|&one| (one, reach(one))).collect();
    let mut circles: Vec<Vec<String>> = Vec::new();
    for (&one, below) in &reached {
        let circle: Vec<String> =
            below.iter().filter(|other| reached[other.as_str()].contains(one)).cloned().collect();
        if below.contains(one) && !circles.contains(&circle) {
            circles.push(circle);
        }
    }
    circles
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let circles = circles(&sources());
    let lines: Vec<String> = circles.iter().map(|circle| circle.join(", ")).collect();
    assert!(circles.is_empty(), "{}", lines.join("\n"));
}
