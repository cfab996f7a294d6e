//! No async function of the engine calls what waits for a disk: that runs in `edge::system::blocking`, on threads of its own.
//!
//! Calls are followed from function to function by their paths, through `engine` and `edge`. Closures that are not async run
//! elsewhere, as a rule in `blocking`, so their calls are not counted; nor are methods, whose types are unknown here, except
//! those of `std::path::Path` that ask the disk. Of a macro, branches of `select!` and lists of expressions are read like
//! other code; of any other, each path before parentheses counts as a call.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::parse::{ParseStream, Parser as _};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{
    Block, Expr, ExprAsync, ExprBlock, ExprCall, ExprClosure, ExprMethodCall, ImplItemFn, Item, ItemFn,
    ItemImpl, ItemMod, Macro, Pat, Token,
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

/// Calls that are allowed in these async functions, each with the reason.
const EXCEPT: &[(&[&str], &str, &str)] = &[
    (
        &["crate::engine::bucket::compare::refresh"],
        "crate::engine::bucket::fleet_root::FleetRoot::connect",
        "reads settings and certificates once, at the beginning of a command that has nothing else under way",
    ),
    (
        &[
            "crate::engine::bucket::comfyui::job",
            "crate::engine::bucket::read::check",
            "crate::engine::bucket::read::examine",
            "crate::engine::bucket::read::gallery",
            "crate::engine::bucket::read::hold",
            "crate::engine::bucket::read::known",
        ],
        "crate::engine::bucket::options::connect",
        "reads settings and certificates once, at the beginning of a command that has nothing else under way",
    ),
    (
        &["crate::engine::bucket::run::BucketMirror::run"],
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
    /// How many `async` blocks were read: each has a name of its own.
    blocks: usize,
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
        // Two traits of one type may have a function of one name.
        let known = self.found.entry(path.join("::")).or_default();
        known.is_async |= function.is_async;
        known.calls.extend(function.calls);
    }

    fn call(&mut self, called: String) {
        if let Some(function) = self.open.last_mut() {
            function.calls.insert(called);
        }
    }

    /// Counts each path before parentheses as a call.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut colons, mut is_method) = (0, false);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        path.clear();
                    }
                    path.push(ident.to_string());
                    colons = 0;
                    continue;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && colons < 2 => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => {
                    if group.delimiter() == Delimiter::Parenthesis && !path.is_empty() {
                        let is_asked = group.stream().is_empty() && ASKS.contains(&path[0].as_str());
                        if is_method && is_asked {
                            self.call(format!(".{}", path[0]));
                        } else if !is_method {
                            let called = self.names.absolute(&self.module, &path).join("::");
                            self.call(called);
                        }
                    }
                    self.tokens(group.stream());
                    is_method = false;
                }
                TokenTree::Punct(punct) => is_method = punct.as_char() == '.',
                TokenTree::Literal(_) => is_method = false,
            }
            path.clear();
            colons = 0;
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

/// Reads the branches of a `select!`.
fn branches(input: ParseStream<'_>) -> syn::Result<Vec<Expr>> {
    let mut found = Vec::new();
    if input.peek(syn::Ident) && input.peek2(Token![;]) {
        input.parse::<syn::Ident>()?;
        input.parse::<Token![;]>()?;
    }
    while !input.is_empty() {
        if input.peek(Token![else]) {
            input.parse::<Token![else]>()?;
        } else {
            Pat::parse_single(input)?;
            input.parse::<Token![=]>()?;
            found.push(input.parse()?);
            if input.peek(Token![,]) {
                input.parse::<Token![,]>()?;
                input.parse::<Token![if]>()?;
                found.push(input.parse()?);
            }
        }
        input.parse::<Token![=>]>()?;
        if input.peek(syn::token::Brace) {
            let block: Block = input.parse()?;
            found.push(Expr::Block(ExprBlock { attrs: Vec::new(), label: None, block }));
            input.parse::<Option<Token![,]>>()?;
        } else {
            found.push(input.parse()?);
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
    }
    Ok(found)
}

/// Reads expressions between commas.
fn expressions(input: ParseStream<'_>) -> syn::Result<Vec<Expr>> {
    Ok(Punctuated::<Expr, Token![,]>::parse_terminated(input)?.into_iter().collect())
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
        self.blocks += 1;
        let name = format!("{{async {}}}", self.blocks);
        self.function(&name, true, |reader| visit::visit_block(reader, &block.block));
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        let is_select = called.path.segments.last().is_some_and(|part| part.ident == "select");
        let read = if is_select { branches } else { expressions };
        match read.parse2(called.tokens.clone()) {
            Ok(found) => found.iter().for_each(|expression| self.visit_expr(expression)),
            Err(error) => {
                assert!(
                    !is_select,
                    "{}: a `select!` that this test cannot read: {error}",
                    self.module.join("::")
                );
                self.tokens(called.tokens.clone());
            }
        }
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
        EXCEPT.iter().any(|(callers, exempt, _)| callers.contains(&path.as_str()) && called == exempt)
    });
    assert!(found.is_empty(), "these wait for a disk on a worker of the runtime: {found:#?}");
    for (callers, exempt, reason) in EXCEPT {
        for caller in *callers {
            let is_used = allowed.iter().any(|(path, called)| path == caller && called == exempt);
            assert!(is_used, "no longer needed: {caller}, {exempt}, {reason}");
        }
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
        "fn f() { spawn(async { let g = async { std::fs::read(x); }; g.await }); }",
        "fn f() { spawn(async { let g = async { h() }; g.await; std::fs::read(x) }); }",
        "struct S; impl A for S { async fn f() { std::fs::read(x); } } impl B for S { async fn f() {} }",
        "async fn f() { tokio::select! { biased; Some(y) = g(), if y => { h() } () = i() => std::fs::read(x), } }",
        "async fn f() { tokio::select! { y = std::fs::read(x) => {}, else => h() } }",
        "async fn f() { tokio::select! { y = g(), if x.exists() => return, else => h() } }",
        "async fn f() { tokio::join!(g(), async { std::fs::read(x) }); }",
        "async fn f() { println!(\"{}\", std::fs::read(x)); }",
        "async fn f() { assert!(matches!(std::fs::read(x), Ok(_) if true)); }",
        "async fn f() { let y = vec![x.is_dir(); 2]; }",
    ] {
        assert_eq!(count(text), 1, "{text}");
    }
    for text in [
        "async fn f() { blocking(move || std::fs::read(x)).await; }",
        "fn f() { std::fs::read(x); }",
        "async fn f() { tokio::select! { y = blocking(|| std::fs::read(x)) => y, () = g() => {} } }",
        "async fn f() { tokio::spawn(async { g().await }); } async fn g() {}",
        "#[cfg(test)] mod tests { async fn f() { std::fs::read(x); } }",
    ] {
        assert_eq!(count(text), 0, "{text}");
    }
}
