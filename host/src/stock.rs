//! The stock plugins: compiled from `plugins/` by the build and embedded. It must not know how they are loaded or run.

/// A plugin that comes with the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    /// Its name, such as `filter`.
    pub name: &'static str,
    /// The component.
    pub bytes: &'static [u8],
    /// What it does and its settings, as Markdown.
    pub readme: &'static str,
    /// Example files: their names and texts, in the form that `plugin-sdk/README.md` describes.
    pub examples: &'static [(&'static str, &'static str)],
}

/// All of them, sorted by name.
pub fn all() -> &'static [Stock] {
    ALL
}

/// One by its name.
pub fn find(name: &str) -> Option<&'static Stock> {
    ALL.iter().find(|stock| stock.name == name)
}

const ALL: &[Stock] = include!(concat!(env!("OUT_DIR"), "/stock.rs"));

#[cfg(test)]
mod tests {
    use wasmparser::{ConstExpr, Operator, Parser, Payload};

    use super::*;

    /// A JSON filter stays below this, so that a fresh instance has few pages to touch.
    const MOST_BYTES: usize = 150_000;

    /// What carries more than code has a limit of its own: a font.
    const LARGER: [(&str, usize); 1] = [("transcript", 1_000_000)];

    /// The stack that the build asks for.
    const STACK: i32 = 65_536;

    /// The initial value of the first global of the first core module: the stack pointer.
    fn stack_pointer(component: &[u8]) -> Option<i32> {
        for payload in Parser::new(0).parse_all(component) {
            if let Payload::GlobalSection(globals) = payload.unwrap() {
                let global = globals.into_iter().next()?.unwrap();
                return constant(&global.init_expr);
            }
        }
        None
    }

    fn constant(expression: &ConstExpr<'_>) -> Option<i32> {
        match expression.get_operators_reader().into_iter().next()?.unwrap() {
            Operator::I32Const { value } => Some(value),
            _ => None,
        }
    }

    /// Where the first bytes of data lie.
    fn lowest_data(component: &[u8]) -> Option<i32> {
        let mut lowest = None;
        for payload in Parser::new(0).parse_all(component) {
            if let Payload::DataSection(segments) = payload.unwrap() {
                for segment in segments {
                    if let wasmparser::DataKind::Active { offset_expr, .. } = segment.unwrap().kind {
                        let at = constant(&offset_expr);
                        lowest = if lowest.is_none() { at } else { lowest.min(at) };
                    }
                }
            }
        }
        lowest
    }

    #[test]
    fn every_stock_plugin_is_small_with_a_small_stack_below_its_data() {
        let names: Vec<&str> = all().iter().map(|stock| stock.name).collect();
        assert_eq!(names, ["envelope", "filter", "media", "redact", "route", "survey", "transcript"]);
        for stock in all() {
            let size = stock.bytes.len();
            let larger = LARGER.iter().find(|(name, _)| *name == stock.name);
            assert!(size < larger.map_or(MOST_BYTES, |(_, most)| *most), "{} has {size} bytes", stock.name);
            assert_eq!(stack_pointer(stock.bytes), Some(STACK), "{}", stock.name);
            // Below the data, so that an overflow leaves the memory and traps.
            assert!(lowest_data(stock.bytes).unwrap() >= STACK, "{}", stock.name);
            assert!(stock.readme.starts_with(&format!("# {}\n", stock.name)));
            assert!(stock.examples.len() >= 5, "{}", stock.name);
        }
        assert!(find("filter").is_some() && find("nothing").is_none());
    }
}
