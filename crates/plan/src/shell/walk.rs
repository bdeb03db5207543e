//! From brush's syntax tree to commands.

use super::{Command, Direction, MAX_NESTING, MAX_SCRIPT_BYTES, Redirect, Refused, Script, Word, mask};
use brush_parser::ast::{
    self, CommandPrefixOrSuffixItem, CompoundCommand, IoFileRedirectKind, IoFileRedirectTarget, IoRedirect,
};
use brush_parser::word::{Parameter, ParameterExpr, WordPiece, WordPieceWithSource};
use brush_parser::{ParseError, Parser, ParserOptions, SourcePosition, TokenizerError};

/// Parses a text; where a shell refuses it, what stands before that is parsed still.
pub(super) fn parse(text: &str) -> Script {
    let mut walker = Walker { source: text.to_owned(), ..Walker::default() };
    let hidden = joined(&mask::hide(text));
    if let Err(refused) = walker.text(&hidden, 0, (1, 1), None) {
        walker.script.refused = refused;
        walker.script.commands.clear();
        // The lines up to the one that is refused still say something.
        let line = walker.script.refused.as_ref().map_or(1, |refused| refused.line);
        let shown = mask::hide(text);
        let mut before: Vec<&str> = shown.lines().take(line.saturating_sub(1)).collect();
        for _ in 0..MAX_RETRIES {
            walker.script.commands.clear();
            if before.is_empty() || walker.text(&joined(&before.join("\n")), 0, (1, 1), None).is_ok() {
                break;
            }
            before.pop();
        }
    }
    walker.script
}

/// Lines are left out from the end of what a shell refuses, so many times.
const MAX_RETRIES: usize = 16;

/// The text with continued lines made one, each character still in its place: two blanks for the backslash and the
/// end of the line.
fn joined(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line
            .strip_suffix("\\\n")
            .filter(|_| !line.trim_start().starts_with('#') && !line.ends_with("\\\\\n"))
        {
            Some(start) => {
                out.push_str(start);
                out.push_str("  ");
            }
            None => out.push_str(line),
        }
    }
    out
}

/// Whether the brackets of a text are few enough for a parser that goes down with them (H1).
fn is_shallow(text: &str) -> bool {
    let mut depth = 0_usize;
    let mut deepest = 0;
    let mut ticks = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'(' | b'{' | b'[' => depth += 1,
            b')' | b'}' | b']' => depth = depth.saturating_sub(1),
            b'`' => ticks += 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest <= MAX_NESTING && ticks <= 4 * MAX_NESTING
}

#[derive(Default)]
struct Walker {
    /// The text as it is written, of which what is parsed differs in the ends of lines alone.
    source: String,
    script: Script,
    pipelines: usize,
}

impl Walker {
    /// Parses a text that begins at `at`; the error is none where it is only too long or too deep.
    fn text(
        &mut self,
        text: &str,
        depth: usize,
        at: (usize, usize),
        inside: Option<usize>,
    ) -> Result<(), Option<Refused>> {
        if text.len() > MAX_SCRIPT_BYTES || depth > MAX_NESTING || !is_shallow(text) {
            return Err(None);
        }
        let options = ParserOptions::default();
        let program = Parser::new(text.as_bytes(), &options).parse_program();
        let places = Places::of(if depth == 0 { &self.source } else { text });
        let program = program.map_err(|error| Some(refused(&error, text, &places)))?;
        let context = Context { depth, at, inside, guarded: false, places: &places };
        for list in &program.complete_commands {
            self.list(list, &context);
        }
        Ok(())
    }

    fn list(&mut self, list: &ast::CompoundList, context: &Context<'_>) {
        for ast::CompoundListItem(and_or, _) in &list.0 {
            let looked_at = and_or.additional.iter().any(|other| matches!(other, ast::AndOr::Or(_)));
            let context = Context { guarded: context.guarded || looked_at, ..*context };
            self.pipeline(&and_or.first, &context);
            for other in &and_or.additional {
                let (ast::AndOr::And(pipeline) | ast::AndOr::Or(pipeline)) = other;
                self.pipeline(pipeline, &context);
            }
        }
    }

    fn pipeline(&mut self, pipeline: &ast::Pipeline, context: &Context<'_>) {
        self.pipelines += 1;
        let (number, stages) = (self.pipelines, pipeline.seq.len());
        let context = Context { guarded: context.guarded || pipeline.bang, ..*context };
        for (position, command) in pipeline.seq.iter().enumerate() {
            match command {
                ast::Command::Simple(simple) => {
                    let command = Command { pipeline: number, position, stages, ..Command::default() };
                    self.simple(simple, command, &context);
                }
                ast::Command::Compound(compound, _) => self.compound(compound, &context),
                ast::Command::Function(function) => self.compound(&function.body.0, &context),
                ast::Command::ExtendedTest(..) => {}
            }
        }
    }

    fn compound(&mut self, compound: &CompoundCommand, context: &Context<'_>) {
        let looked_at = Context { guarded: true, ..*context };
        match compound {
            CompoundCommand::BraceGroup(group) => self.list(&group.list, context),
            CompoundCommand::Subshell(shell) => self.list(&shell.list, context),
            CompoundCommand::ForClause(clause) => self.list(&clause.body.list, context),
            CompoundCommand::ArithmeticForClause(clause) => self.list(&clause.body.list, context),
            CompoundCommand::CaseClause(clause) => {
                for list in clause.cases.iter().filter_map(|case| case.cmd.as_ref()) {
                    self.list(list, context);
                }
            }
            CompoundCommand::IfClause(clause) => {
                self.list(&clause.condition, &looked_at);
                self.list(&clause.then, context);
                for other in clause.elses.iter().flatten() {
                    if let Some(condition) = &other.condition {
                        self.list(condition, &looked_at);
                    }
                    self.list(&other.body, context);
                }
            }
            CompoundCommand::WhileClause(clause) | CompoundCommand::UntilClause(clause) => {
                self.list(&clause.0, &looked_at);
                self.list(&clause.1.list, context);
            }
            CompoundCommand::Arithmetic(_) | CompoundCommand::Coprocess(_) => {}
        }
    }

    fn simple(&mut self, simple: &ast::SimpleCommand, mut command: Command, context: &Context<'_>) {
        // Its place is taken before those of what stands inside of it.
        let at = self.script.commands.len();
        self.script.commands.push(command.clone());
        let around = context.inside;
        let context = &Context { inside: Some(at), ..*context };
        let mut nested = Vec::new();
        let prefix = simple.prefix.iter().flat_map(|prefix| &prefix.0);
        let suffix = simple.suffix.iter().flat_map(|suffix| &suffix.0);
        for (item, is_prefix) in prefix.map(|item| (item, true)) {
            self.item(item, is_prefix, &mut command, context, &mut nested);
        }
        if let Some(name) = &simple.word_or_name {
            command.words.push(word(name, context, &mut nested));
        }
        for item in suffix {
            self.item(item, false, &mut command, context, &mut nested);
        }
        command.guarded = context.guarded;
        command.inside = around;
        let first = command.words.first().or(command.assignments.first().map(|(_, word)| word));
        command.line = first.map_or(context.at.0, |word| word.line);
        self.script.commands[at] = command;
        for (text, place) in nested {
            // What a substitution says wrong is said of the whole.
            _ = self.text(&text, context.depth + 1, place, Some(at));
        }
    }

    fn item(
        &mut self,
        item: &CommandPrefixOrSuffixItem,
        is_prefix: bool,
        command: &mut Command,
        context: &Context<'_>,
        nested: &mut Vec<(String, (usize, usize))>,
    ) {
        match item {
            CommandPrefixOrSuffixItem::Word(text) => command.words.push(word(text, context, nested)),
            CommandPrefixOrSuffixItem::AssignmentWord(assignment, text) => {
                let text = word(text, context, nested);
                if !is_prefix {
                    command.words.push(text);
                } else if let ast::AssignmentName::VariableName(name) = &assignment.name {
                    let value = text.text.split_once('=').map_or("", |(_, value)| value).to_owned();
                    command.assignments.push((mask::show(name), Word { text: value, ..text }));
                }
            }
            CommandPrefixOrSuffixItem::IoRedirect(redirect) => {
                self.redirect(redirect, command, context, nested)
            }
            CommandPrefixOrSuffixItem::ProcessSubstitution(_, shell) => {
                self.list(&shell.list, context);
            }
        }
    }

    fn redirect(
        &mut self,
        redirect: &IoRedirect,
        command: &mut Command,
        context: &Context<'_>,
        nested: &mut Vec<(String, (usize, usize))>,
    ) {
        let (direction, target) = match redirect {
            IoRedirect::File(_, kind, target) => {
                let direction = match kind {
                    IoFileRedirectKind::Read | IoFileRedirectKind::ReadAndWrite => Direction::Read,
                    IoFileRedirectKind::Write | IoFileRedirectKind::Clobber => Direction::Write,
                    IoFileRedirectKind::Append => Direction::Append,
                    IoFileRedirectKind::DuplicateInput | IoFileRedirectKind::DuplicateOutput => {
                        Direction::Other
                    }
                };
                match target {
                    IoFileRedirectTarget::Filename(target) => (direction, target),
                    IoFileRedirectTarget::ProcessSubstitution(_, shell) => {
                        return self.list(&shell.list, context);
                    }
                    IoFileRedirectTarget::Fd(_) | IoFileRedirectTarget::Duplicate(_) => return,
                }
            }
            IoRedirect::HereDocument(_, document) => (Direction::Here, &document.doc),
            IoRedirect::HereString(_, text) => (Direction::Here, text),
            IoRedirect::OutputAndError(target, _) => (Direction::Write, target),
        };
        // The text of a here-document is not for this shell.
        let target = match redirect {
            IoRedirect::HereDocument(..) => Word { text: mask::show(&target.value), ..Word::default() },
            _ => word(target, context, nested),
        };
        command.redirects.push(Redirect { direction, target });
    }
}

/// Lines and columns of the characters of a text.
struct Places {
    /// The index of each line's first character, and the number of all.
    starts: Vec<usize>,
    count: usize,
}

impl Places {
    fn of(text: &str) -> Self {
        let mut starts = vec![0];
        let mut count = 0;
        for c in text.chars() {
            count += 1;
            if c == '\n' {
                starts.push(count);
            }
        }
        Self { starts, count }
    }

    /// Line and column, from 1, of a character.
    fn at(&self, index: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= index).max(1);
        (line, index - self.starts[line - 1] + 1)
    }
}

/// What a command stands in.
#[derive(Clone, Copy)]
struct Context<'a> {
    places: &'a Places,
    depth: usize,
    /// Where the text begins that is parsed.
    at: (usize, usize),
    inside: Option<usize>,
    guarded: bool,
}

impl Context<'_> {
    /// A place of the text as a place of the whole.
    fn place(&self, index: usize) -> (usize, usize) {
        let (line, column) = self.places.at(index);
        if line <= 1 {
            (self.at.0, self.at.1 + column.saturating_sub(1))
        } else {
            (self.at.0 + line - 1, column)
        }
    }
}

fn word(source: &ast::Word, context: &Context<'_>, nested: &mut Vec<(String, (usize, usize))>) -> Word {
    let (line, column) = context.place(source.loc.as_ref().map_or(0, |loc| loc.start.index));
    let raw = mask::show(&source.value);
    let mut word = Word { line, column, raw, ..Word::default() };
    let simple = !source.value.contains(['\'', '"', '\\', '$', '`']);
    let pieces = match simple {
        true => None,
        false if !is_shallow(&source.value) => None,
        false => brush_parser::word::parse(&source.value, &ParserOptions::default()).ok(),
    };
    match pieces {
        None => word.text = mask::show(&source.value),
        Some(pieces) => {
            let quoted = |piece: &WordPieceWithSource| {
                let quotes = |piece: &WordPiece| {
                    matches!(piece, WordPiece::SingleQuotedText(_) | WordPiece::DoubleQuotedSequence(_))
                };
                quotes(&piece.piece)
            };
            word.quoted = !pieces.is_empty() && pieces.iter().all(quoted);
            let mut text = String::new();
            gather(&pieces, &source.value, &mut text, &mut word, nested, 0);
            word.text = mask::show(&text);
        }
    }
    word
}

/// Takes the quotes off, and finds variables and substitutions.
fn gather(
    pieces: &[WordPieceWithSource],
    source: &str,
    text: &mut String,
    word: &mut Word,
    nested: &mut Vec<(String, (usize, usize))>,
    depth: usize,
) {
    for piece in pieces {
        let written = source.get(piece.start_index..piece.end_index).unwrap_or_default();
        match &piece.piece {
            WordPiece::Text(part) | WordPiece::SingleQuotedText(part) | WordPiece::AnsiCQuotedText(part) => {
                text.push_str(part);
            }
            WordPiece::EscapeSequence(part) => {
                let plain = part.strip_prefix('\\').unwrap_or(part);
                text.push_str(plain.strip_prefix('\n').unwrap_or(plain));
            }
            WordPiece::DoubleQuotedSequence(inner) | WordPiece::GettextDoubleQuotedSequence(inner) => {
                if depth < MAX_NESTING {
                    gather(inner, source, text, word, nested, depth + 1);
                }
            }
            WordPiece::CommandSubstitution(script) | WordPiece::BackquotedCommandSubstitution(script) => {
                word.substitutes = true;
                let at = piece.start_index + if written.starts_with("$(") { 2 } else { 1 };
                let before = source.get(..at).unwrap_or_default();
                let line = word.line + before.matches('\n').count();
                let last = before.rsplit('\n').next().unwrap_or_default().chars().count();
                let column = if before.contains('\n') { last + 1 } else { word.column + last };
                nested.push((script.clone(), (line, column)));
                text.push_str(written);
            }
            WordPiece::ParameterExpansion(expression) => {
                if let ParameterExpr::Parameter { parameter: Parameter::Named(name), .. } = expression {
                    word.variables.push(name.clone());
                }
                text.push_str(written);
            }
            WordPiece::TildeExpansion(_) | WordPiece::ArithmeticExpression(_) => text.push_str(written),
        }
    }
}

fn refused(error: &ParseError, text: &str, places: &Places) -> Refused {
    let end = || places.at(places.count.saturating_sub(1));
    let of = |position: &SourcePosition| places.at(position.index.min(places.count));
    let ((line, column), what) = match error {
        ParseError::ParsingNear(position) => (of(position), "a shell does not take this".to_owned()),
        ParseError::ParsingAtEndOfInput => (end(), "a shell waits for more here".to_owned()),
        ParseError::Tokenizing { inner, position } => {
            let place = match inner {
                TokenizerError::UnterminatedSingleQuote(at)
                | TokenizerError::UnterminatedAnsiCQuote(at)
                | TokenizerError::UnterminatedDoubleQuote(at)
                | TokenizerError::UnterminatedBackquote(at)
                | TokenizerError::UnterminatedExtendedGlob(at) => of(at),
                TokenizerError::UnterminatedHereDocuments(..)
                | TokenizerError::MissingHereTag(_)
                | TokenizerError::MissingHereTagForDocumentBody => {
                    text.rfind("<<").map_or_else(end, |at| places.at(text[..at].chars().count()))
                }
                _ => position.as_ref().map_or_else(end, of),
            };
            let what = match inner {
                TokenizerError::UnterminatedSingleQuote(_) | TokenizerError::UnterminatedAnsiCQuote(_) => {
                    "this single quote has no end"
                }
                TokenizerError::UnterminatedDoubleQuote(_) => "this double quote has no end",
                TokenizerError::UnterminatedBackquote(_) => "this backquote has no end",
                TokenizerError::UnterminatedHereDocuments(..)
                | TokenizerError::MissingHereTag(_)
                | TokenizerError::MissingHereTagForDocumentBody => "this here-document has no end",
                TokenizerError::UnterminatedCommandSubstitution => "this `$(` has no end",
                TokenizerError::UnterminatedVariable | TokenizerError::UnterminatedExpansion => {
                    "this `${` has no end"
                }
                TokenizerError::UnterminatedEscapeSequence => {
                    "a line ends in a backslash, and nothing follows"
                }
                _ => "a shell does not take this",
            };
            (place, what.to_owned())
        }
    };
    Refused { line, column, what }
}
