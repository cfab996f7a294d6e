//! No async function of the engine calls what waits for a disk: that runs in `edge::system::blocking`, on threads of its own.
//!
//! Calls are followed from function to function by their paths, through `engine` and `edge`. Closures that are not async run
//! elsewhere, as a rule in `blocking`, so their calls are not counted; nor are methods, whose types are unknown here, except
//! those of `std::path::Path` that ask the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use syn::visit::{self, Visit};
use syn::{
    Expr, ExprAsync, ExprCall, ExprClosure, ExprMethodCall, ImplItemFn, Item, ItemFn, ItemImpl, ItemMod,
};

use super::source::{Names, attributes, is_for_tests, modules};

/// What waits for a disk.
const WAITS: [&str; 4] = ["std::fs", "rustix::fs", "fs4", "reflink_copy"];

/// Methods that ask the disk.
const ASKS: [&str; 9] = [
    "exists",
    "try_exists",
    "is_dir",
    "is_file",
    "is_symlink",
    "metadata",
    "symlink_metadata",
    "read_dir",
    "canonicalize",
];

/// Calls that are allowed in async functions of a room, each with the reason.
const EXCEPT: &[(&str, &str, &str)] = &[
    (
        "crate::engine::bucket::compare::refresh",
        "crate::engine::bucket::fleet_root::FleetRoot::connect",
        "reads settings and certificates once, at the beginning of a command that has nothing else under way",
    ),
    (
        "crate::engine::bucket",
        "crate::engine::bucket::options::connect",
        "reads settings and certificates once, at the beginning of a command that has nothing else under way",
    ),
    (
        "crate::engine::bucket::run::BucketMirror::run",
        "crate::edge::net::http::ArtifactClient::new",
        "reads certificates once, before anything is under way; jobs of a fleet share a client that is there",
    ),
];

#[derive(Debug, Clone, Default, PartialEq)]
struct Function {
    is_async: bool,
    /// Absolute paths that it calls, and methods with a dot before them; of async functions what is outside of closures.
    calls: BTreeSet<String>,
}

#[derive(Default)]
struct Functions {
    names: Names,
    module: Vec<String>,
    /// The type whose `impl` is read.
    owner: Option<String>,
    /// The functions that are read, from the outermost.
    open: Vec<Function>,
    found: BTreeMap<String, Function>,
}

impl Functions {
    fn of(module: &str, text: &str) -> BTreeMap<String, Function> {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{module}: {error}"));
        let module: Vec<String> = module.split("::").map(str::to_owned).collect();
        let mut functions = Self { names: Names::of(&module, &file), module, ..Self::default() };
        functions.items(&file.items);
        // What is imported can be called by that name, from other files too.
        for (name, meant) in functions.names.imports() {
            let alias = Function { is_async: false, calls: BTreeSet::from([meant]) };
            functions.found.entry(name).or_insert(alias);
        }
        functions.found
    }

    fn items(&mut self, items: &[Item]) {
        items.iter().filter(|item| !is_for_tests(attributes(item))).for_each(|item| self.visit_item(item));
    }

    fn function(&mut self, name: &str, is_async: bool, read: impl FnOnce(&mut Self)) {
        self.open.push(Function { is_async, ..Function::default() });
        read(self);
        let function = self.open.pop().unwrap_or_default();
        let mut path = vec!["crate".to_owned()];
        path.extend(self.module.iter().cloned());
        path.extend(self.owner.clone());
        path.push(name.to_owned());
        self.found.insert(path.join("::"), function);
    }

    fn call(&mut self, called: String) {
        if let Some(function) = self.open.last_mut() {
            function.calls.insert(called);
        }
    }

    /// Returns the absolute path of what is called.
    fn absolute(&self, path: &syn::Path) -> String {
        let parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        match (parts.as_slice(), &self.owner) {
            ([first, rest @ ..], Some(owner)) if first == "Self" => {
                let mut here = vec!["crate".to_owned()];
                here.extend(self.module.iter().cloned());
                here.push(owner.clone());
                here.extend(rest.iter().cloned());
                here.join("::")
            }
            _ => self.names.absolute(&self.module, &parts).join("::"),
        }
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if let Some((_, items)) = &module.content {
            self.module.push(module.ident.to_string());
            self.items(items);
            self.module.pop();
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let owner = match item.self_ty.as_ref() {
            syn::Type::Path(path) => path.path.segments.last().map(|part| part.ident.to_string()),
            _ => None,
        };
        let before = std::mem::replace(&mut self.owner, owner);
        visit::visit_item_impl(self, item);
        self.owner = before;
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        let owner = self.owner.take();
        self.function(&item.sig.ident.to_string(), item.sig.asyncness.is_some(), |reader| {
            visit::visit_block(reader, &item.block);
        });
        self.owner = owner;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            self.function(&item.sig.ident.to_string(), item.sig.asyncness.is_some(), |reader| {
                visit::visit_block(reader, &item.block);
            });
        }
    }

    fn visit_expr_closure(&mut self, closure: &'ast ExprClosure) {
        let is_async = self.open.last().is_some_and(|function| function.is_async);
        if is_async {
            // Where it runs is unknown: what it calls is dropped, except in `async` blocks of it.
            self.open.push(Function::default());
            visit::visit_expr(self, &closure.body);
            self.open.pop();
        } else {
            visit::visit_expr(self, &closure.body);
        }
    }

    fn visit_expr_async(&mut self, block: &'ast ExprAsync) {
        let name = format!("{{async {}}}", self.found.len());
        self.function(&name, true, |reader| visit::visit_block(reader, &block.block));
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if let Expr::Path(path) = call.func.as_ref() {
            let called = self.absolute(&path.path);
            self.call(called);
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        let no_arguments = call.args.is_empty();
        if no_arguments && ASKS.iter().any(|method| call.method == method) {
            self.call(format!(".{}", call.method));
        }
        visit::visit_expr_method_call(self, call);
    }
}

/// Returns the async functions of the engine that call what waits for a disk, each with what it calls.
fn blocked(functions: &BTreeMap<String, Function>) -> Vec<(String, String)> {
    let waits_itself = |called: &String| {
        called.starts_with('.') || WAITS.iter().any(|path| called.starts_with(&format!("{path}::")))
    };
    let mut waiting: BTreeSet<&str> = BTreeSet::new();
    loop {
        let waits = |called: &String| waits_itself(called) || waiting.contains(called.as_str());
        let more: Vec<&str> = functions
            .iter()
            .filter(|(path, function)| {
                !function.is_async && !waiting.contains(path.as_str()) && function.calls.iter().any(waits)
            })
            .map(|(path, _)| path.as_str())
            .collect();
        if more.is_empty() {
            break;
        }
        waiting.extend(more);
    }
    let mut found = Vec::new();
    for (path, function) in functions {
        let is_watched = function.is_async && path.starts_with("crate::engine::");
        let calls =
            function.calls.iter().filter(|called| waits_itself(called) || waiting.contains(called.as_str()));
        found.extend(calls.filter(|_| is_watched).map(|called| (path.clone(), called.clone())));
    }
    found
}

#[test]
fn no_async_function_of_the_engine_waits_for_a_disk() {
    let mut functions = BTreeMap::new();
    for (module, path) in modules() {
        if module.starts_with("engine") || module.starts_with("edge") {
            functions.extend(Functions::of(&module, &fs::read_to_string(path).unwrap()));
        }
    }
    assert!(functions.len() > 500, "{} functions", functions.len());
    let (allowed, found): (Vec<_>, Vec<_>) = blocked(&functions).into_iter().partition(|(path, called)| {
        EXCEPT.iter().any(|(room, exempt, _)| path.starts_with(room) && called == exempt)
    });
    assert!(found.is_empty(), "these wait for a disk on a worker of the runtime: {found:#?}");
    for (room, exempt, reason) in EXCEPT {
        let is_used = allowed.iter().any(|(path, called)| path.starts_with(room) && called == exempt);
        assert!(is_used, "no longer needed: {room}, {exempt}, {reason}");
    }
}

#[test]
fn a_planted_call_is_found() {
    let edge = Functions::of(
        "edge::folder",
        "use std::fs; pub struct Store; impl Store { pub fn peek() { Self::read() } fn read() { fs::read(x); } }",
    );
    let count = |text: &str| {
        let mut functions = edge.clone();
        functions.extend(Functions::of("engine::mirror", text));
        blocked(&functions).len()
    };
    for text in [
        "async fn f() { std::fs::read(x); }",
        "use std::fs; async fn f() { if a { fs::metadata(x)?; } }",
        "use crate::edge::folder::Store; async fn f() { Store::peek(); }",
        "fn g() { h(); } fn h() { std::fs::read(x); } async fn f() { g(); }",
        "fn g() { x.iter().map(|y| std::fs::read(y)); } async fn f() { g(); }",
        "struct S; impl S { async fn f(&self) { dir.join(x).is_dir(); } }",
        "fn f() { spawn(async move { rustix::fs::statvfs(x); }); }",
        "mod inner { async fn f() { super::g(); } } fn g() { std::fs::read(x); }",
    ] {
        assert_eq!(count(text), 1, "{text}");
    }
    for text in [
        "async fn f() { blocking(move || std::fs::read(x)).await; }",
        "fn f() { std::fs::read(x); }",
        "async fn f() { tokio::spawn(async { g().await }); } async fn g() {}",
        "#[cfg(test)] mod tests { async fn f() { std::fs::read(x); } }",
    ] {
        assert_eq!(count(text), 0, "{text}");
    }
}
