//! The difference of two texts, line by line, for people. Pure; it must not know what the texts are.

/// Above this many pairs of lines the texts stand one after the other: comparing them would take too much memory.
const PAIRS: usize = 1 << 20;

/// Every line of both texts: `-` only in `old`, `+` only in `new`, a space in both.
pub(super) fn lines(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let mark = |mark: char| move |line: &&str| format!("{mark} {line}");
    if old.len().saturating_mul(new.len()) > PAIRS {
        return old.iter().map(mark('-')).chain(new.iter().map(mark('+'))).collect();
    }
    // Length of the longest common part of what begins at (i, j).
    let width = new.len() + 1;
    let mut common = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            out.push(format!("  {}", old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len()
            || (i < old.len() && common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            out.push(format!("- {}", old[i]));
            i += 1;
        } else {
            out.push(format!("+ {}", new[j]));
            j += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn only_what_differs_is_marked() {
        let got = lines("{\n  a\n  b\n  c\n}", "{\n  a\n  x\n  c\n  d\n}");
        assert_eq!(got, ["  {", "    a", "-   b", "+   x", "    c", "+   d", "  }"]);
        assert_eq!(lines("", "a"), ["+ a"]);
        assert_eq!(lines("a", ""), ["- a"]);
        assert_eq!(lines("a\nb", "a\nb"), ["  a", "  b"]);
    }

    #[test]
    fn long_texts_are_shown_whole_without_a_comparison() {
        let (old, new) = ("a\n".repeat(2_000), "a\n".repeat(1_000));
        let got = lines(&old, &new);
        assert_eq!(got.len(), 3_000);
        assert!(got[..2_000].iter().all(|l| l == "- a") && got[2_000..].iter().all(|l| l == "+ a"));
    }
}
