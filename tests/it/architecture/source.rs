//! Reads what a source file uses: its `use` trees, its paths, and the methods that it calls; and its texts. Unit tests are
//! left out, which may use what they like.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ExprMethodCall, Item, ItemMod, ItemUse, Macro, UseTree};

/// One source file.
pub(super) struct Source {
    /// Its module path below the crate: `decide::mirror::plan`.
    pub(super) module: String,
    /// Absolute paths that it uses (`crate::model::job::JobId`, `std::fs::read`), and methods (`.sync_all`).
    pub(super) uses: BTreeSet<String>,
    /// Names that its imports make, and what they mean: others may import by them, as by `pub use` and `use super::`.
    pub(super) aliases: BTreeMap<String, String>,
    /// Its string literals, and the lines of its documentation.
    pub(super) texts: Vec<String>,
    /// The first line of its documentation.
    pub(super) summary: String,
}

impl Source {
    pub(super) fn parse(module: &str, text: &str) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{module}: {error}"));
        let mut reader = Reader { module: split(module), ..Reader::default() };
        file.attrs.iter().for_each(|attribute| reader.visit_attribute(attribute));
        reader.items(&file.items);
        let texts = std::mem::take(&mut reader.texts);
        let summary = text.lines().next().and_then(|line| line.strip_prefix("//! ")).unwrap_or_default();
        let aliases = reader.aliases().collect();
        Self {
            module: module.to_owned(),
            uses: reader.resolved(),
            aliases,
            texts,
            summary: summary.to_owned(),
        }
    }
}

fn split(module: &str) -> Vec<String> {
    module.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Returns all sources but those of tests, in the order of their modules.
pub(super) fn sources() -> Vec<Source> {
    let parse =
        |(module, path): (String, PathBuf)| Source::parse(&module, &fs::read_to_string(path).unwrap());
    modules().into_iter().map(parse).collect()
}

/// Returns the files of all sources but those of tests.
pub(super) fn files() -> Vec<PathBuf> {
    modules().into_values().collect()
}

/// Returns the files of all sources but those of tests, by module.
pub(super) fn modules() -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    read_folder(&root, "", &mut found);
    assert!(found.len() > 100, "{} sources", found.len());
    found
}

fn read_folder(folder: &Path, module: &str, found: &mut BTreeMap<String, PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let test_modules: BTreeSet<String> = entries
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .flat_map(|path| declared_for_tests(&fs::read_to_string(path).unwrap()))
        .collect();
    for path in entries {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if test_modules.contains(&name) || name == "tests" {
            continue;
        }
        let below = if module.is_empty() { name.clone() } else { format!("{module}::{name}") };
        if path.is_dir() {
            read_folder(&path, &below, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let module = match name.as_str() {
                "mod" => module.to_owned(),
                "lib" | "main" if module.is_empty() => name,
                _ => below,
            };
            found.insert(module, path);
        }
    }
}

fn declared_for_tests(text: &str) -> Vec<String> {
    let file = syn::parse_file(text).unwrap();
    let modules = file.items.into_iter().filter_map(|item| match item {
        Item::Mod(module) if is_for_tests(&module.attrs) && module.content.is_none() => Some(module),
        _ => None,
    });
    modules.map(|module| module.ident.to_string()).collect()
}

pub(super) fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let mut tests = false;
        if attribute.path().is_ident("cfg") {
            // Only `cfg(test)` itself: `not(test)` is the program.
            let _ = attribute.parse_nested_meta(|meta| {
                tests |= meta.path.is_ident("test");
                Ok(())
            });
        }
        tests || attribute.path().is_ident("test")
    })
}

pub(super) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[derive(Default)]
struct Reader {
    module: Vec<String>,
    /// Paths as they are written, with the module that they are written in.
    paths: Vec<(Vec<String>, Vec<String>)>,
    methods: BTreeSet<String>,
    texts: Vec<String>,
    /// Names that a `use` brings in, and what they mean.
    imported: Vec<(Vec<String>, String, Vec<String>)>,
}

impl Reader {
    fn items(&mut self, items: &[Item]) {
        for item in items {
            if !is_for_tests(attributes(item)) {
                self.visit_item(item);
            }
        }
    }

    fn tree(&mut self, prefix: &[String], tree: &UseTree) {
        let joined = |name: String| prefix.iter().cloned().chain([name]).collect::<Vec<_>>();
        match tree {
            UseTree::Path(path) => self.tree(&joined(path.ident.to_string()), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(prefix, tree)),
            UseTree::Glob(_) => self.paths.push((self.module.clone(), prefix.to_vec())),
            UseTree::Name(name) if name.ident == "self" => self.import(prefix.to_vec(), None),
            UseTree::Name(name) => self.import(joined(name.ident.to_string()), None),
            UseTree::Rename(name) => {
                self.import(joined(name.ident.to_string()), Some(name.rename.to_string()));
            }
        }
    }

    fn import(&mut self, path: Vec<String>, alias: Option<String>) {
        let name = alias.unwrap_or_else(|| path.last().cloned().unwrap_or_default());
        self.imported.push((self.module.clone(), name, path.clone()));
        self.paths.push((self.module.clone(), path));
    }

    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.end_of(&mut path);
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.end_of(&mut path);
                    self.tokens(group.stream());
                }
                TokenTree::Literal(literal) => {
                    self.end_of(&mut path);
                    if let syn::Lit::Str(text) = syn::Lit::new(literal) {
                        self.texts.push(text.value());
                    }
                }
                _ => self.end_of(&mut path),
            }
        }
        self.end_of(&mut path);
    }

    fn end_of(&mut self, path: &mut Vec<String>) {
        let path = std::mem::take(path);
        if path.len() > 1 {
            self.paths.push((self.module.clone(), path));
        }
    }

    fn resolved(self) -> BTreeSet<String> {
        let mut uses: BTreeSet<String> = self.methods.iter().map(|name| format!(".{name}")).collect();
        for (module, path) in &self.paths {
            uses.insert(self.absolute(module, path).join("::"));
        }
        uses
    }

    /// Returns what is imported under a name: the name's absolute path, and that of what it means.
    fn aliases(&self) -> impl Iterator<Item = (String, String)> {
        self.imported.iter().map(|(module, name, meant)| {
            let here = ["crate".to_owned()].into_iter().chain(module.iter().cloned()).chain([name.clone()]);
            let here: Vec<String> = here.collect();
            (here.join("::"), self.absolute(module, meant).join("::"))
        })
    }

    fn absolute(&self, module: &[String], path: &[String]) -> Vec<String> {
        let krate = || vec!["crate".to_owned()];
        let inside =
            |module: &[String]| krate().into_iter().chain(module.iter().cloned()).collect::<Vec<_>>();
        match path.first().map(String::as_str) {
            Some("crate") => path.to_vec(),
            Some("self") => inside(module).into_iter().chain(path[1..].iter().cloned()).collect(),
            Some("super") => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                let parent = &module[..module.len().saturating_sub(ups)];
                inside(parent).into_iter().chain(path[ups..].iter().cloned()).collect()
            }
            Some(first) => {
                let meaning = self.imported.iter().find(|(place, name, meant)| {
                    place.as_slice() == module
                        && name == first
                        && meant.first().map(String::as_str) != Some(first)
                });
                match meaning {
                    Some((_, _, meant)) => {
                        let meant = self.absolute(module, meant);
                        meant.into_iter().chain(path[1..].iter().cloned()).collect()
                    }
                    None => path.to_vec(),
                }
            }
            None => Vec::new(),
        }
    }
}

/// What the names in a source mean: its imports.
#[derive(Default)]
pub(super) struct Names(Reader);

impl Names {
    pub(super) fn of(module: &[String], file: &syn::File) -> Self {
        let mut reader = Reader { module: module.to_vec(), ..Reader::default() };
        reader.items(&file.items);
        Self(reader)
    }

    /// Returns the absolute path of a name. One that is not imported is of its own module, or of another crate.
    pub(super) fn absolute(&self, module: &[String], path: &[String]) -> Vec<String> {
        let path = self.0.absolute(module, path);
        let is_whole =
            |first: &String| ["crate", "std", "rustix", "fs4", "reflink_copy"].contains(&first.as_str());
        if path.first().is_some_and(is_whole) {
            return path;
        }
        let krate = || "crate".to_owned();
        [krate()].into_iter().chain(module.iter().cloned()).chain(path).collect()
    }

    /// As [`Reader::aliases`].
    pub(super) fn imports(&self) -> impl Iterator<Item = (String, String)> {
        self.0.aliases()
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if let Some((_, items)) = &module.content {
            self.module.push(module.ident.to_string());
            self.items(items);
            self.module.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if parts.len() > 1 {
            self.paths.push((self.module.clone(), parts));
        }
        visit::visit_path(self, path);
    }

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.texts.push(text.value());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        // Of `#[error("…")]` the words are in tokens.
        if let syn::Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
        }
        visit::visit_attribute(self, attribute);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        self.methods.insert(call.method.to_string());
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        self.tokens(called.tokens.clone());
        visit::visit_macro(self, called);
    }
}
