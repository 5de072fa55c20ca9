//! Who imports whom: a reader of `use` declarations and of paths in code. It knows the module tree of one crate, and
//! follows re-exports to the module in which an item lives, so that a public face hides nothing.
//!
//! It reads text, not types: what a method call leads to it does not see. That is why [`Crate::foreign_impls`] names
//! methods that a module gives to the type of another one.

use std::collections::{BTreeMap, BTreeSet};

/// The names of a module, from the root of its crate.
pub type Path = Vec<String>;

/// A module: one file.
pub struct Module {
    /// Of the file, to be shown.
    pub file: String,
    pub path: Path,
    tokens: Vec<Token>,
    uses: Vec<Use>,
}

/// A word or a mark of code, and its line.
struct Token {
    text: String,
    line: usize,
    /// In how many modules it stands that have no file of their own: `super` is the module around there.
    nested: usize,
}

/// One name that a `use` brings in.
struct Use {
    /// As it is written: it may begin with `crate`, `self` or `super`.
    target: Path,
    /// What it is called here; none: everything (`*`).
    name: Option<String>,
    line: usize,
}

/// The modules of a crate.
pub struct Crate {
    modules: BTreeMap<Path, Module>,
}

/// One module needs another.
pub struct Import {
    pub from: Path,
    /// Where the imported item lives.
    pub to: Path,
    /// File and line.
    pub at: String,
}

impl Module {
    /// Reads a file. `code` has neither comments nor what strings hold.
    pub fn read(file: &str, path: &[&str], code: &str) -> Self {
        let tokens = tokens(code);
        let mut uses = Vec::new();
        let starts = tokens.iter().enumerate().filter(|(_, token)| token.text == "use");
        for (at, token) in starts {
            let mut rest = tokens.get(at + 1..).unwrap_or_default().iter();
            let mut tree = rest.by_ref().take_while(|t| t.text != ";").peekable();
            let known = uses.len();
            use_tree(&mut tree, &Path::new(), token.line, &mut uses);
            for one in uses.iter_mut().skip(known).filter(|_| token.nested > 0) {
                one.target = unnested(&one.target, token.nested);
                // It is no name of the file's own module.
                one.name = Some(String::new());
            }
        }
        let path = path.iter().map(|&name| name.to_owned()).collect();
        Self { file: file.to_owned(), path, tokens, uses }
    }

    fn named(&self, name: &str) -> Option<&Use> {
        self.uses.iter().find(|one| one.name.as_deref() == Some(name))
    }

    /// Paths that stand in the code outside of `use`, with their lines. Those of `pub(in ...)` import nothing.
    fn inline_paths(&self) -> Vec<(Path, usize)> {
        let (mut found, mut at, mut in_use) = (Vec::new(), 0, false);
        let text = |at: usize| self.tokens.get(at).map_or("", |token| token.text.as_str());
        while let Some(token) = self.tokens.get(at) {
            in_use = token.text == "use" || in_use && token.text != ";";
            let before = at.checked_sub(1).map_or("", text);
            let begins = is_name(&token.text) && text(at + 1) == "::" && before != "::";
            if in_use || !begins || before == "in" {
                at += 1;
                continue;
            }
            let mut path = vec![token.text.clone()];
            while text(at + 1) == "::" && is_name(text(at + 2)) {
                path.push(text(at + 2).to_owned());
                at += 2;
            }
            found.push((unnested(&path, token.nested), token.line));
            at += 1;
        }
        found
    }

    /// The types that get methods here without a trait, with their lines.
    fn inherent_impls(&self) -> Vec<(Path, usize)> {
        let mut found = Vec::new();
        for (at, token) in self.tokens.iter().enumerate().filter(|(_, t)| t.text == "impl") {
            let mut rest = self.tokens.get(at + 1..).unwrap_or_default();
            rest = skip_angles(rest);
            let mut path = Path::new();
            while let Some((first, more)) = rest.split_first().filter(|(t, _)| is_name(&t.text)) {
                path.push(first.text.clone());
                rest = more;
                match rest.split_first() {
                    Some((mark, more)) if mark.text == "::" => rest = more,
                    _ => break,
                }
            }
            rest = skip_angles(rest);
            if rest.first().is_some_and(|t| t.text == "{" || t.text == "where") {
                found.push((path, token.line));
            }
        }
        found
    }
}

impl Crate {
    /// A crate of these modules; the root has an empty path.
    pub fn new(modules: Vec<Module>) -> Self {
        Self { modules: modules.into_iter().map(|module| (module.path.clone(), module)).collect() }
    }

    /// Everything that a module of this crate imports from another one.
    pub fn imports(&self) -> Vec<Import> {
        let mut all = Vec::new();
        for module in self.modules.values() {
            let uses =
                module.uses.iter().map(|one| (one.target.clone(), one.name.is_none(), one.line));
            let inline = module.inline_paths().into_iter().map(|(path, line)| (path, false, line));
            for (path, is_glob, line) in uses.chain(inline) {
                for to in self.homes(module, &path, is_glob) {
                    let at = format!("{}:{line}", module.file);
                    all.push(Import { from: module.path.clone(), to, at });
                }
            }
        }
        all.retain(|import| import.from != import.to);
        all
    }

    /// Methods that a module gives to the type of another one: the module, where the type lives, its name, and where
    /// in the code. Whoever calls such a method needs that module, and no import shows it.
    pub fn foreign_impls(&self) -> Vec<(Import, String)> {
        let mut all = Vec::new();
        for module in self.modules.values() {
            for (path, line) in module.inherent_impls() {
                for to in self.homes(module, &path, false) {
                    let (from, at) = (module.path.clone(), format!("{}:{line}", module.file));
                    let name = path.last().cloned().unwrap_or_default();
                    all.push((Import { from, to, at }, name));
                }
            }
        }
        all
    }

    /// Where what that path names lives; nothing when it is of another crate.
    fn homes(&self, module: &Module, path: &[String], is_glob: bool) -> BTreeSet<Path> {
        let mut homes = BTreeSet::new();
        if let Some((at, rest)) = self.begin(module, path, 0) {
            self.follow(at, &rest, 0, &mut homes);
            if is_glob {
                // Everything that the module shows, wherever it lives.
                for target in homes.clone() {
                    let Some(target) = self.modules.get(&target) else { continue };
                    for one in &target.uses {
                        homes.append(&mut self.homes(target, &one.target, false));
                    }
                }
            }
        }
        homes
    }

    /// The module at which a path begins, and the names that are left.
    fn begin(&self, module: &Module, path: &[String], depth: usize) -> Option<(Path, Path)> {
        let (first, rest) = path.split_first()?;
        let mut rest = rest;
        let at = match first.as_str() {
            "crate" => Path::new(),
            "self" => module.path.clone(),
            "super" => {
                let mut at = module.path.clone();
                at.pop();
                while let Some(("super", more)) = rest.split_first().map(|(n, m)| (n.as_str(), m)) {
                    at.pop();
                    rest = more;
                }
                at
            }
            name => {
                let child = child(&module.path, name);
                if self.modules.contains_key(&child) {
                    return Some((child, rest.to_vec()));
                }
                // A name that a `use` of this module brought in. It may be called like the crate it is of.
                let known = module.named(name).filter(|one| one.target.first() != Some(first))?;
                let (at, mut left) = if depth < 8 {
                    self.begin(module, &known.target, depth + 1)?
                } else {
                    return None;
                };
                left.extend_from_slice(rest);
                return Some((at, left));
            }
        };
        Some((at, rest.to_vec()))
    }

    /// Goes down the module tree, and where a name is none of it, to where it was re-exported from.
    fn follow(&self, mut at: Path, rest: &[String], depth: usize, homes: &mut BTreeSet<Path>) {
        for (index, name) in rest.iter().enumerate() {
            let down = child(&at, name);
            if self.modules.contains_key(&down) {
                at = down;
                continue;
            }
            let Some(module) = self.modules.get(&at).filter(|_| depth < 8) else { return };
            let left = rest.get(index + 1..).unwrap_or_default();
            if let Some(one) = module.named(name) {
                if let Some((at, mut more)) = self.begin(module, &one.target, 0) {
                    more.extend_from_slice(left);
                    self.follow(at, &more, depth + 1, homes);
                }
                return;
            }
            for glob in module.uses.iter().filter(|one| one.name.is_none()) {
                if let Some((at, _)) = self.begin(module, &glob.target, 0) {
                    homes.insert(at);
                }
            }
            break;
        }
        homes.insert(at);
    }
}

/// The first circle among these: who needs whom, and where that is written. None when there is none.
pub fn circle(edges: &BTreeMap<(String, String), String>) -> Option<String> {
    let nodes: BTreeSet<&String> = edges.keys().flat_map(|(from, to)| [from, to]).collect();
    let mut done = BTreeSet::new();
    nodes.into_iter().find_map(|node| search(node, edges, &mut vec![node], &mut done))
}

fn search<'a>(
    node: &'a String,
    edges: &'a BTreeMap<(String, String), String>,
    way: &mut Vec<&'a String>,
    done: &mut BTreeSet<&'a String>,
) -> Option<String> {
    if done.contains(node) {
        return None;
    }
    for (_, to) in edges.keys().filter(|(from, _)| from == node) {
        if let Some(start) = way.iter().position(|known| *known == to) {
            let mut round: Vec<&String> = way.get(start..).unwrap_or_default().to_vec();
            round.push(to);
            let shown = round.windows(2).map(|pair| {
                let at = edges.get(&(pair[0].clone(), pair[1].clone()));
                format!("{} imports {} ({})", pair[0], pair[1], at.map_or("", String::as_str))
            });
            return Some(shown.collect::<Vec<_>>().join(", "));
        }
        way.push(to);
        let found = search(to, edges, way, done);
        way.pop();
        if found.is_some() {
            return found;
        }
    }
    done.insert(node);
    None
}

/// The same path, seen from the file's own module.
fn unnested(path: &[String], nested: usize) -> Path {
    let ups = path.iter().take(nested).take_while(|name| *name == "super").count();
    let here = (ups > 0 && path.get(ups).is_some_and(|n| n != "super")).then(|| "self".to_owned());
    here.into_iter().chain(path.iter().skip(ups).cloned()).collect()
}

fn child(path: &Path, name: &str) -> Path {
    path.iter().cloned().chain([name.to_owned()]).collect()
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Behind `<...>`, if the tokens begin with it.
fn skip_angles(tokens: &[Token]) -> &[Token] {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "<" => depth += 1,
            ">" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            let skipped = if token.text == ">" { at + 1 } else { at };
            return tokens.get(skipped..).unwrap_or_default();
        }
    }
    tokens
}

/// Words, `::`, and single marks. An arrow is one mark, so that its point is no bracket.
fn tokens(code: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let (mut line, mut rest) = (1, code);
    while let Some(c) = rest.chars().next() {
        let length = match c {
            c if c.is_alphanumeric() || c == '_' => {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            ':' if rest.starts_with("::") => 2,
            '-' if rest.starts_with("->") => 2,
            '=' if rest.starts_with("=>") => 2,
            _ => c.len_utf8(),
        };
        let (text, left) = rest.split_at(length);
        if c == '\n' {
            line += 1;
        } else if !c.is_whitespace() {
            tokens.push(Token { text: text.to_owned(), line, nested: 0 });
        }
        rest = left;
    }
    nest(&mut tokens);
    tokens
}

/// Notes in how many modules each token stands that have no file of their own: `mod name { ... }`.
fn nest(tokens: &mut [Token]) {
    let mut depth = 0usize;
    let mut begins = Vec::new();
    let mut before = [String::new(), String::new()];
    for token in tokens {
        match token.text.as_str() {
            "{" => {
                if before[0] == "mod" {
                    begins.push(depth);
                }
                depth += 1;
            }
            "}" => {
                depth = depth.saturating_sub(1);
                begins.pop_if(|begin| *begin == depth);
            }
            _ => {}
        }
        token.nested = begins.len();
        before.swap(0, 1);
        before[1].clone_from(&token.text);
    }
}

/// One tree of a `use`: everything that it names is added to `uses`.
fn use_tree<'a>(
    tokens: &mut std::iter::Peekable<impl Iterator<Item = &'a Token>>,
    before: &Path,
    line: usize,
    uses: &mut Vec<Use>,
) {
    let mut path = before.clone();
    while let Some(token) = tokens.next() {
        match token.text.as_str() {
            "::" => {}
            "{" => {
                // The iterator is erased: a tree may stand in a tree without end.
                let tokens: &mut dyn Iterator<Item = &'a Token> = tokens;
                let inside: Vec<&Token> = group(tokens);
                for part in parts(&inside) {
                    use_tree(&mut part.iter().copied().peekable(), &path, line, uses);
                }
                return;
            }
            "*" => return uses.push(Use { target: path, name: None, line }),
            "as" => {
                let name = tokens.next().map(|token| token.text.clone());
                return uses.push(Use { target: path, name: name.or(Some(String::new())), line });
            }
            name => path.push(name.to_owned()),
        }
        if tokens.peek().is_none() {
            break;
        }
    }
    if path.len() > before.len() {
        if path.last().is_some_and(|name| name == "self") {
            path.pop();
        }
        let name = path.last().cloned();
        uses.push(Use { target: path, name, line });
    }
}

/// What stands up to the bracket that closes the group.
fn group<'a>(tokens: &mut dyn Iterator<Item = &'a Token>) -> Vec<&'a Token> {
    let mut depth = 1;
    let inside = tokens.take_while(|token| {
        depth += i32::from(token.text == "{") - i32::from(token.text == "}");
        depth > 0
    });
    inside.collect()
}

/// The parts of a group, which are separated by commas.
fn parts<'a>(tokens: &[&'a Token]) -> Vec<Vec<&'a Token>> {
    let mut parts = vec![Vec::new()];
    let mut depth = 0;
    for token in tokens {
        depth += i32::from(token.text == "{") - i32::from(token.text == "}");
        match parts.last_mut() {
            Some(_) if depth == 0 && token.text == "," => parts.push(Vec::new()),
            Some(part) => part.push(*token),
            None => {}
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crate of these files: `a/b` is the module `b` of `a`, the empty name is the root.
    fn of(files: &[(&str, &str)]) -> Crate {
        let module = |(name, code): &(&str, &str)| {
            let path: Vec<&str> = name.split('/').filter(|name| !name.is_empty()).collect();
            Module::read(name, &path, code)
        };
        Crate::new(files.iter().map(module).collect())
    }

    /// The circle among the first names of modules, the root apart.
    fn circle_of(files: &[(&str, &str)]) -> Option<String> {
        let mut edges = BTreeMap::new();
        for Import { from, to, at } in of(files).imports() {
            if let (Some(from), Some(to)) = (from.first(), to.first())
                && from != to
            {
                edges.entry((from.clone(), to.clone())).or_insert(at);
            }
        }
        circle(&edges)
    }

    #[test]
    fn a_chain_is_no_circle() {
        let files = [
            ("", "mod a; mod b; mod c; pub use a::One;"),
            ("a", "use crate::b::Two; use std::fmt; use crate::c; pub(in crate::a) struct One;"),
            ("b", "use super::c::{self, Three as Third}; struct Two;"),
            ("c", "struct Three; struct Four(c::Elsewhere);"),
        ];
        assert_eq!(circle_of(&files), None);
    }

    #[test]
    fn a_circle_is_found_and_shown() {
        let files = [
            ("a", "use crate::b::Two;\nstruct One;"),
            ("b", "use crate::{\n    c::Three,\n};\nstruct Two;"),
            ("c", "struct Three;\n\nfn f() -> super::a::One { two() }"),
        ];
        let circle = circle_of(&files).expect("a circle");
        assert_eq!(circle, "a imports b (a:1), b imports c (b:1), c imports a (c:3)");
    }

    #[test]
    fn a_public_face_hides_no_circle() {
        let by_the_root = [
            ("", "mod a; mod b; pub use a::deep::One; pub use b::*;"),
            ("a", "mod deep;"),
            ("a/deep", "use crate::b::Two; struct One;"),
            ("b", "fn f() { crate::One::new() } struct Two;"),
        ];
        assert!(circle_of(&by_the_root).is_some(), "an inline path by way of the root");
        let renamed = [
            ("", "mod a; mod b; pub use a::One as Uno;"),
            ("a", "use super::b::Two; struct One;"),
            ("b", "use crate::Uno; struct Two;"),
        ];
        assert!(circle_of(&renamed).is_some(), "a name that the root gave it");
        let everything = [
            ("", "mod a; mod b; pub use a::One;"),
            ("a", "use super::b::Two; struct One;"),
            ("b", "use crate::*; struct Two;"),
        ];
        assert!(circle_of(&everything).is_some(), "everything that the root shows");
        let by_a_module = [
            ("", "mod a; mod b;"),
            ("a", "mod deep; use super::b::Two; use crate as all;"),
            ("a/deep", "struct One;"),
            ("b", "use crate as root; fn f(one: root::a::deep::One) {} struct Two;"),
        ];
        assert!(circle_of(&by_a_module).is_some(), "a module by another name");
    }

    #[test]
    fn a_module_inside_a_file_counts_as_the_file() {
        let inside = [
            ("a", "struct One; mod inner { use super::One; fn f() { super::super::b::two() } }"),
            ("b", "fn two() {}"),
        ];
        let imports = of(&inside).imports();
        let shown: Vec<_> = imports.iter().map(|i| (&*i.from[0], &*i.to[0])).collect();
        assert_eq!(shown, [("a", "b")]);
    }

    #[test]
    fn methods_for_somebody_elses_type_are_found() {
        let files = [
            ("a", "struct One<T>(T); impl<T: Fn(u8) -> u8> One<T> {} impl Clone for One<u8> {}"),
            ("b", "use crate::a::One;\nimpl One<u8> { fn f(&self) {} }\nimpl Drop for One<u8> {}"),
        ];
        let found = of(&files).foreign_impls();
        let shown: Vec<_> = found.iter().map(|(i, name)| (&*i.at, &*i.to[0], &**name)).collect();
        assert_eq!(shown, [("b:2", "a", "One")]);
    }
}
