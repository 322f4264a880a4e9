//! The filter language of the carrier-webhook API, `path:value&path:value`, read into the same expressions.

use super::filter::{Expr, Filter, FilterError, Operand, Step, is_bare_byte};

impl Filter {
    /// Reads a filter of the carrier-webhook API.
    ///
    /// Clauses are joined by `&` and all must hold. A clause is split at its first colon; spaces and quotes around path
    /// and value do not count. The value is compared exactly with the text form of the scalar at the path; keys are
    /// found without regard to ASCII case; a missing field, null, an object or an array makes the clause false.
    ///
    /// # Errors
    /// What was expected and where; or the limit that was passed.
    pub fn parse_carrier(text: &str) -> Result<Self, FilterError> {
        if text.len() > Self::MAX_LENGTH {
            return Err(FilterError::Length { length: text.len() });
        }
        let mut clauses = Vec::new();
        let mut at = 1;
        for clause in text.split('&') {
            clauses.push(read(clause, at)?);
            at += clause.chars().count() + 1;
        }
        Self::checked(if clauses.len() == 1 { clauses.remove(0) } else { Expr::And(clauses) })
    }

    /// The clauses of a text that [`Filter::parse_carrier`] reads, each as its path and its value.
    pub fn carrier_clauses(text: &str) -> impl Iterator<Item = (&str, &str)> {
        text.split('&')
            .filter_map(|clause| clause.split_once(':'))
            .map(|(path, value)| (trim(path), trim(value)))
    }
}

fn read(clause: &str, at: usize) -> Result<Expr, FilterError> {
    let wrong = |offset: usize, expected, found: &str| FilterError::Syntax {
        at: at + clause[..offset].chars().count(),
        expected,
        found: if found.is_empty() { "nothing".to_owned() } else { format!("{:.80}", format!("{found:?}")) },
    };
    let Some((path, value)) = clause.split_once(':') else {
        return Err(wrong(0, "`path:value`", clause));
    };
    let bare = trim(path);
    let named = |key: &str| !key.is_empty() && key.bytes().all(is_bare_byte);
    if !bare.split('.').all(named) {
        return Err(wrong(0, "a path of names with `.` between them", path));
    }
    if trim(value).is_empty() {
        return Err(wrong(path.len() + 1, "a value", value));
    }
    let steps = bare.split('.').map(|key| Step::Key(key.to_owned())).collect();
    Ok(Expr::Is(Operand::Payload(steps), trim(value).to_owned()))
}

fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '“' | '”' | '‘' | '’'))
}

#[cfg(test)]
mod tests {
    use super::super::Subject;
    use super::super::tests::event;
    use super::*;

    const CASE: &str = r#"{"state":"open","n":7,"f":1.5,"yes":true,"none":null,"list":["a"],"url":"http://x:1",
        "caseData":{"brand":"Acme Mutual","lineOfBusiness":{"type":"auto","subtype":"personal"}}}"#;

    #[test]
    fn the_documented_forms_match() {
        let event = event("case.closed", &[], CASE);
        let cases = [
            ("caseData.brand:Acme Mutual", true),
            ("caseData.brand: \"Acme Mutual\" ", true),
            ("caseData.brand:acme mutual", false),
            (
                "caseData.brand:Acme Mutual&caseData.lineOfBusiness.type:auto&caseData.lineOfBusiness.subType:personal",
                true,
            ),
            ("state:open&caseData.lineOfBusiness.type:home", false),
            ("n:7", true),
            ("f:1.5", true),
            ("yes:true", true),
            ("none:null", false),
            ("list:a", false),
            ("caseData:x", false),
            ("missing:x", false),
            ("url:http://x:1", true),
        ];
        for (text, expected) in cases {
            let filter = Filter::parse_carrier(text).unwrap();
            assert_eq!(filter.matches(&Subject::new(&event)), expected, "{text}");
            assert_eq!(Filter::parse(&filter.to_string()).unwrap(), filter, "{text}");
        }
    }

    #[test]
    fn clauses_are_paths_and_values() {
        let clauses: Vec<_> = Filter::carrier_clauses(" \"state:open\" & case.url : http://x ").collect();
        assert_eq!(clauses, [("state", "open"), ("case.url", "http://x")]);
    }

    #[test]
    fn malformed_text_is_refused_with_its_place() {
        let cases = [
            ("", "at character 1: expected `path:value`, found nothing"),
            ("state:open&", "at character 12: expected `path:value`, found nothing"),
            ("é", "at character 1: expected `path:value`, found \"é\""),
            ("a..b:c", "at character 1: expected a path of names with `.` between them, found \"a..b\""),
            ("a:é& b:", "at character 8: expected a value, found nothing"),
        ];
        for (text, expected) in cases {
            assert_eq!(Filter::parse_carrier(text).unwrap_err().to_string(), expected, "{text}");
        }
        let many = vec!["a:b"; 257].join("&");
        assert_eq!(Filter::parse_carrier(&many), Err(FilterError::Nodes));
    }
}
