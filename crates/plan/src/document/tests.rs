//! What becomes of Markdown.

use super::*;

#[test]
fn blocks_know_their_section_item_and_place() {
    let source = "# A\n\ntext *one*\ntwo\n\n## B\n\n1. **Do**: `x y`\n   ```bash\n   a \\\n     b\n   ```\n2. [ ] box\n\n| H | I |\n|---|---|\n| c | `d` |\n\n**Bold:**\n\n- [x] done\n";
    let document = Document::read(source);
    let titles: Vec<_> = document
        .sections
        .iter()
        .map(|section| (section.title.plain(), section.level, section.parent, section.last_line))
        .collect();
    assert_eq!(
        titles,
        [("", 0, None, 21), ("A", 1, Some(0), 21), ("B", 2, Some(1), 21), ("Bold:", 8, Some(2), 21)]
    );
    let shown: Vec<String> = document
        .blocks
        .iter()
        .map(|block| {
            let what = match &block.kind {
                Kind::Paragraph(text) => format!("paragraph {:?}", text.plain()),
                Kind::Item(item) => format!("item {:?} {:?} {:?}", item.text.plain(), item.number, item.done),
                Kind::Table(table) => format!(
                    "table {}x{} {:?}",
                    table.header.len(),
                    table.rows.len(),
                    table.rows[0][1].whole()
                ),
                Kind::Code(code) => format!(
                    "code {} {:?}",
                    code.language,
                    code.lines
                        .iter()
                        .map(|line| (line.line, line.column, line.text.as_str()))
                        .collect::<Vec<_>>()
                ),
                Kind::Html(html) => format!("html {html:?}"),
            };
            format!("{}-{} in {} {:?}: {what}", block.place.line, block.last_line, block.section, block.item)
        })
        .collect();
    insta::assert_debug_snapshot!(shown);
}

#[test]
fn d2_places_are_those_of_the_source() {
    let document = Document::read("- 数据 **RTO**: 4 hours `x`\n");
    let Kind::Item(item) = &document.blocks[0].kind else { panic!("{document:?}") };
    let at = item.text.plain().find("4 hours").unwrap();
    assert_eq!(item.text.place(at, at + 7), Place::new(1, 15, 7));
    let at = item.text.plain().find('x').unwrap();
    assert_eq!(item.text.place(at, at + 1), Place::new(1, 24, 1));
}

#[test]
fn d1_what_is_too_long_is_cut_and_said() {
    let document = Document::read(&"a\n\n".repeat(MAX_BLOCKS + 5));
    assert!(document.blocks.len() <= MAX_BLOCKS);
    assert!(document.cut.is_some());
    let long = "x".repeat(MAX_DOCUMENT_BYTES + 10);
    assert_eq!(Document::read(&long).cut, Some(1));
    assert_eq!(Document::read("x").cut, None);
}

#[test]
fn a_table_of_html_is_a_table_and_a_mark_of_the_encoding_is_nothing() {
    let source = "\u{feff}# People\n\n<table>\n<tr><th>Role</th>\n  <th>Name &amp; phone</th></tr>\n\n<tr><td>Lead</td><td>Ada<br>+49 30 1</td></tr>\n<tr><td>DBA</td>\n</table>\n\n<details><summary>More</summary>\n\ntext\n\n</details>\n";
    let document = Document::read(source);
    assert_eq!(document.sections[1].title.plain(), "People");
    let Kind::Table(table) = &document.blocks[0].kind else { panic!("{document:?}") };
    let cells = |row: &[Text]| row.iter().map(|cell| cell.plain().to_owned()).collect::<Vec<_>>();
    assert_eq!(cells(&table.header), ["Role", "Name & phone"]);
    assert_eq!(
        table.rows.iter().map(|row| cells(row)).collect::<Vec<_>>(),
        [vec!["Lead", "Ada\n+49 30 1"], vec!["DBA", ""]]
    );
    assert_eq!(table.rows[0][1].whole(), Place::new(7, 22, 3));
    assert!(!html::says_something("<details><summary>More</summary>") && html::says_something("<p>text</p>"));
}
