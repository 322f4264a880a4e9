//! The native filter language: from text to expression. The grammar stands in the module's README.

use super::filter::{Expr, Filter, FilterError, Literal, Op, Operand, Path, Step};
use super::lexer::{Token, tokens};

/// How many parentheses and `!` may be open at once. Twice the depth of what they hold, and some to spare: the printed
/// form of a filter never needs more.
const MAX_OPEN: usize = 3 * Filter::MAX_DEPTH;

const CONDITION: &str = "a field, `attributes`, `exists(`, `!` or `(`";
const OPERATOR: &str = "`==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `prefix`, `contains` or `is`";
const VALUE: &str = "a text in double quotes, a number, `true`, `false` or `null`";

impl Filter {
    /// Reads a filter in the native language.
    ///
    /// # Errors
    /// What was expected and where; or the limit that was passed.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.len() > Self::MAX_LENGTH {
            return Err(FilterError::Length { length: text.len() });
        }
        let mut parser = Parser { tokens: tokens(text)?, next: 0, open: 0 };
        let expr = parser.or()?;
        match parser.peek() {
            Token::End => Self::checked(expr),
            _ => Err(parser.wrong("`&&`, `||` or the end")),
        }
    }
}

impl std::str::FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Path {
    /// Reads what stands left of an operator in the native language: `caseData.id`, `lines[0]`, `attributes.subject`.
    ///
    /// # Errors
    /// What was expected and where; or the limit that was passed.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.len() > Filter::MAX_LENGTH {
            return Err(FilterError::Length { length: text.len() });
        }
        let mut parser = Parser { tokens: tokens(text)?, next: 0, open: 0 };
        let operand = parser.operand()?;
        match parser.peek() {
            Token::End => Ok(Self(operand)),
            _ => Err(parser.wrong("`.`, `[` or the end")),
        }
    }
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    next: usize,
    open: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].0
    }

    /// Takes the next token; the end stays where it is.
    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn takes(&mut self, sign: &str) -> bool {
        let there = matches!(self.peek(), Token::Sign(s) if *s == sign);
        if there {
            self.take();
        }
        there
    }

    fn expect(&mut self, sign: &str, expected: &'static str) -> Result<(), FilterError> {
        if self.takes(sign) { Ok(()) } else { Err(self.wrong(expected)) }
    }

    fn wrong(&self, expected: &'static str) -> FilterError {
        let (token, at) = &self.tokens[self.next];
        FilterError::Syntax { at: *at, expected, found: token.describe() }
    }

    fn or(&mut self) -> Result<Expr, FilterError> {
        let mut parts = vec![self.and()?];
        while self.takes("||") {
            parts.push(self.and()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::Or(parts) })
    }

    fn and(&mut self) -> Result<Expr, FilterError> {
        let mut parts = vec![self.unary()?];
        while self.takes("&&") {
            parts.push(self.unary()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::And(parts) })
    }

    fn unary(&mut self) -> Result<Expr, FilterError> {
        let (not, group) = (self.takes("!"), self.takes("("));
        if !not && !group {
            return self.condition();
        }
        self.open += 1;
        if self.open > MAX_OPEN {
            return Err(FilterError::Depth);
        }
        let expr = if group {
            let inner = self.or()?;
            self.expect(")", "`&&`, `||` or `)`")?;
            inner
        } else {
            self.unary()?
        };
        self.open -= 1;
        Ok(if not { Expr::Not(Box::new(expr)) } else { expr })
    }

    fn condition(&mut self) -> Result<Expr, FilterError> {
        if matches!(self.peek(), Token::Word(w) if w == "exists")
            && self.tokens[self.next + 1].0 == Token::Sign("(")
        {
            self.next += 2;
            let what = self.operand()?;
            self.expect(")", "`.`, `[` or `)`")?;
            return Ok(Expr::Exists(what));
        }
        let what = self.operand()?;
        let op = match self.peek() {
            Token::Sign("==") => Op::Eq,
            Token::Sign("!=") => Op::Ne,
            Token::Sign("<") => Op::Lt,
            Token::Sign("<=") => Op::Le,
            Token::Sign(">") => Op::Gt,
            Token::Sign(">=") => Op::Ge,
            Token::Word(word) => {
                let word = word.clone();
                return self.worded(what, &word);
            }
            _ => return Err(self.wrong(OPERATOR)),
        };
        self.take();
        Ok(Expr::Compare(what, op, self.literal()?))
    }

    fn worded(&mut self, what: Operand, word: &str) -> Result<Expr, FilterError> {
        if !matches!(word, "in" | "prefix" | "contains" | "is") {
            return Err(self.wrong(OPERATOR));
        }
        self.take();
        Ok(match word {
            "in" => Expr::In(what, self.list()?),
            "prefix" => Expr::Prefix(what, self.text()?),
            "contains" => Expr::Contains(what, self.literal()?),
            _ => Expr::Is(what, self.text()?),
        })
    }

    fn operand(&mut self) -> Result<Operand, FilterError> {
        let Token::Word(root) = self.peek().clone() else { return Err(self.wrong(CONDITION)) };
        self.take();
        let mut steps = Vec::new();
        if !matches!(&*root, "payload" | "attributes") {
            steps.push(Step::Key(root.clone()));
        }
        loop {
            if self.takes(".") {
                match self.peek().clone() {
                    Token::Word(key) => steps.push(Step::Key(key)),
                    _ => return Err(self.wrong("a field's name")),
                }
                self.take();
            } else if self.takes("[") {
                steps.push(match self.peek() {
                    Token::Text(key) => Step::Key(key.clone()),
                    Token::Number(n) => match n.as_u64().and_then(|n| usize::try_from(n).ok()) {
                        Some(index) => Step::Index(index),
                        None => return Err(self.wrong("a whole number from 0")),
                    },
                    _ => return Err(self.wrong("a field's name in double quotes, or a number")),
                });
                self.take();
                self.expect("]", "`]`")?;
            } else {
                break;
            }
        }
        if root != "attributes" {
            return Ok(Operand::Payload(steps));
        }
        match <[Step; 1]>::try_from(steps) {
            Ok([Step::Key(name)]) => Ok(Operand::Attribute(name)),
            _ => Err(self.wrong("one attribute's name, as `attributes.name` or `attributes[\"name\"]`")),
        }
    }

    fn literal(&mut self) -> Result<Literal, FilterError> {
        let literal = match self.peek() {
            Token::Text(text) => Literal::Text(text.clone()),
            Token::Number(n) => Literal::Number(n.clone()),
            Token::Word(w) if w == "true" => Literal::Bool(true),
            Token::Word(w) if w == "false" => Literal::Bool(false),
            Token::Word(w) if w == "null" => Literal::Null,
            _ => return Err(self.wrong(VALUE)),
        };
        self.take();
        Ok(literal)
    }

    fn text(&mut self) -> Result<String, FilterError> {
        let Token::Text(text) = self.peek().clone() else {
            return Err(self.wrong("a text in double quotes"));
        };
        self.take();
        Ok(text)
    }

    fn list(&mut self) -> Result<Vec<Literal>, FilterError> {
        self.expect("[", "a list in `[` and `]`")?;
        let mut list = vec![self.literal()?];
        while self.takes(",") {
            list.push(self.literal()?);
        }
        self.expect("]", "`,` or `]`")?;
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn errors_say_where_and_what() {
        let cases = [
            ("", format!("at character 1: expected {CONDITION}, found the end")),
            ("state", format!("at character 6: expected {OPERATOR}, found the end")),
            ("state == ", format!("at character 10: expected {VALUE}, found the end")),
            ("é == 1", "at character 1: expected a condition, found 'é'".to_owned()),
            ("a == \"é\" b", "at character 10: expected `&&`, `||` or the end, found `b`".to_owned()),
            ("a == open", format!("at character 6: expected {VALUE}, found `open`")),
            ("(a == 1", "at character 8: expected `&&`, `||` or `)`, found the end".to_owned()),
            ("a == \"x", "at character 8: expected a closing `\"`, found the end".to_owned()),
            ("a in []", format!("at character 7: expected {VALUE}, found `]`")),
            ("a[-1] == 1", "at character 3: expected a whole number from 0, found the number -1".to_owned()),
            ("a == 01", "at character 6: expected a number as in JSON, found '0'".to_owned()),
            (
                "a prefix 1",
                "at character 10: expected a text in double quotes, found the number 1".to_owned(),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(Filter::parse(text).unwrap_err().to_string(), expected, "{text}");
        }
        assert!(Filter::parse("attributes == 1").is_err());
        assert!(Filter::parse("attributes.a.b == 1").is_err());
    }

    #[test]
    fn the_limits_hold_and_are_named() {
        let long = format!("a == \"{}\"", "x".repeat(Filter::MAX_LENGTH));
        assert!(matches!(Filter::parse(&long), Err(FilterError::Length { .. })));
        let nots = |n: usize| format!("{}a == 1", "!".repeat(n));
        assert!(Filter::parse(&nots(31)).is_ok());
        assert_eq!(Filter::parse(&nots(32)), Err(FilterError::Depth));
        for open in ["(", "!", "!("] {
            assert_eq!(Filter::parse(&open.repeat(2000)), Err(FilterError::Depth), "{open}");
        }
        let list = |n: usize| format!("a in [{}]", vec!["1"; n].join(","));
        assert!(Filter::parse(&list(255)).is_ok());
        assert_eq!(Filter::parse(&list(256)), Err(FilterError::Nodes));
    }

    #[test]
    fn words_of_the_language_may_be_fields() {
        for text in
            ["in in [1]", "exists == 1", "prefix prefix \"a\"", "payload.attributes.x == 1", "a.payload == 1"]
        {
            assert_eq!(Filter::parse(text).unwrap().to_string(), text);
        }
    }

    fn literal() -> impl Strategy<Value = Literal> {
        prop_oneof![
            Just(Literal::Null),
            any::<bool>().prop_map(Literal::Bool),
            any::<i64>().prop_map(|n| Literal::Number(n.into())),
            any::<u64>().prop_map(|n| Literal::Number(n.into())),
            // Short fractions: serde_json reads a long one to within its last digit, in filters and payloads alike.
            any::<i32>()
                .prop_map(|n| Literal::Number(serde_json::Number::from_f64(f64::from(n) / 8.0).unwrap())),
            any::<String>().prop_map(Literal::Text),
        ]
    }

    fn operand() -> impl Strategy<Value = Operand> {
        let key = prop_oneof![
            "[a-z_][a-zA-Z0-9_-]{0,6}",
            ".{0,4}",
            Just("payload".to_owned()),
            Just("exists".to_owned())
        ];
        let step = prop_oneof![key.clone().prop_map(Step::Key), (0usize..100).prop_map(Step::Index)];
        prop_oneof![
            key.prop_map(Operand::Attribute),
            prop::collection::vec(step, 0..4).prop_map(Operand::Payload),
        ]
    }

    fn expr() -> impl Strategy<Value = Expr> {
        use Op::{Eq, Ge, Gt, Le, Lt, Ne};
        let op = prop::sample::select(vec![Eq, Ne, Lt, Le, Gt, Ge]);
        let leaf = prop_oneof![
            operand().prop_map(Expr::Exists),
            (operand(), op, literal()).prop_map(|(w, o, l)| Expr::Compare(w, o, l)),
            (operand(), prop::collection::vec(literal(), 1..4)).prop_map(|(w, l)| Expr::In(w, l)),
            (operand(), any::<String>()).prop_map(|(w, t)| Expr::Prefix(w, t)),
            (operand(), literal()).prop_map(|(w, l)| Expr::Contains(w, l)),
            (operand(), any::<String>()).prop_map(|(w, t)| Expr::Is(w, t)),
        ];
        leaf.prop_recursive(6, 24, 3, |inner| {
            let parts = prop::collection::vec(inner.clone(), 2..4);
            prop_oneof![
                parts.clone().prop_map(Expr::And),
                parts.prop_map(Expr::Or),
                inner.prop_map(|e| Expr::Not(Box::new(e))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_back(expr in expr()) {
            let filter = Filter(expr);
            let text = filter.to_string();
            prop_assume!(text.len() <= Filter::MAX_LENGTH);
            prop_assert_eq!(Filter::parse(&text).unwrap(), filter, "{}", text);
        }

        #[test]
        fn no_text_panics(text in "[a-c.!()\"\\[\\]=<>&| 0-9é\\\\-]{0,60}") {
            let _ = Filter::parse(&text);
            let _ = Filter::parse_carrier(&text);
        }
    }
}
