//! The screen: a line of what the lab is, the list, and the keys.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row as TableRow, Table, TableState};

use super::app::{App, Column, List, Opened, Row, What};

const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
/// Columns of blanks between two of a table.
const SPACING: u16 = 1;
/// What a text keeps on the narrowest terminal.
const LEAST: usize = 8;
const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);

pub(super) fn draw(frame: &mut Frame<'_>, app: &App) {
    let [head, tabs, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)])
            .areas(frame.area());
    let trouble = match &app.sample.trouble[..] {
        [] => Span::raw("  all up"),
        [one] => Span::styled(format!("  ! {one}"), STRONG.fg(Color::Red)),
        [one, rest @ ..] => Span::styled(format!("  ! {one}, and {} more", rest.len()), STRONG.fg(Color::Red)),
    };
    frame.render_widget(Line::from(vec![Span::styled(app.sample.title.clone(), STRONG), trouble]), head);
    frame.render_widget(lists(app), tabs);
    match &app.opened {
        Some(opened) => machine(frame, opened, body),
        None => list(frame, app, body),
    }
    frame.render_widget(Line::from(keys(app)), foot);
}

fn lists(app: &App) -> Line<'static> {
    let names = List::ALL.into_iter().zip(1..).map(|(list, number)| {
        let style = if list == app.list { CHOSEN } else { Style::new() };
        let count = match (list, app.sample.trouble.len()) {
            (List::Links, down @ 1..) => format!(" ({down} down)"),
            _ => String::new(),
        };
        Span::styled(format!(" {number} {}{count} ", list.name()), style)
    });
    Line::from(names.collect::<Vec<_>>())
}

fn keys(app: &App) -> String {
    if app.typing {
        return format!("filter: {}_   Enter done  Esc none", app.filter);
    }
    if app.opened.is_some() {
        return "r routes  u rules  d drops  Esc back  q quit".to_owned();
    }
    let filter = if app.filter.is_empty() { String::new() } else { format!("  [{}]", app.filter) };
    let by = app.list.columns().get(app.sorted_by()).copied().unwrap_or_default();
    format!("Tab list  s sort ({by})  / filter{filter}  Enter open  q quit")
}

/// The rows around the chosen one: others cost nothing, however many there are.
fn list(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let rows = app.rows();
    if rows.is_empty() {
        return frame.render_widget(nothing(app), area);
    }
    let at = app.at(&rows);
    let height = usize::from(area.height).saturating_sub(1).max(1);
    let first = at.saturating_sub(height / 2).min(rows.len().saturating_sub(height));
    let shown = &rows[first..rows.len().min(first + height)];
    let headings = app.list.columns();
    let widths = widths(shown, headings, usize::from(area.width));
    let heading = TableRow::new(headings.iter().zip(&widths).enumerate().map(|(column, (name, width))| {
        let numeric = shown.first().is_some_and(|row| row.columns.get(column).is_some_and(Column::is_number));
        if numeric { format!("{name:>width$}") } else { (*name).to_owned() }
    }));
    let lines = shown.iter().map(|row| {
        TableRow::new(row.columns.iter().zip(&widths).map(|(column, width)| {
            let text = column.text();
            if column.is_number() { format!("{text:>width$}") } else { cut(text, *width) }
        }))
    });
    let constraints = widths.iter().map(|width| Constraint::Length(u16::try_from(*width).unwrap_or(u16::MAX)));
    let table = Table::new(lines, constraints)
        .header(heading.style(STRONG))
        .row_highlight_style(CHOSEN)
        .column_spacing(SPACING);
    let mut state = TableState::default();
    state.select(Some(at - first));
    frame.render_stateful_widget(table, area, &mut state);
}

/// Why a list is empty.
fn nothing(app: &App) -> String {
    match (app.sample.rows.is_empty(), app.list) {
        (false, _) => format!("nothing has `{}` in it; Esc shows all", app.filter),
        (true, List::Machines) => "the lab has no machines".to_owned(),
        (true, List::Drops) => "no packet has been dropped".to_owned(),
        (true, List::Flows) => "no flow is running".to_owned(),
        (true, List::Links) => "the lab has no tunnels, circuits, peerings, BGP sessions or probes".to_owned(),
    }
}

/// As wide as what is shown; where that is too much, the widest texts are cut before a number is.
fn widths(rows: &[&Row], headings: &[&str], all: usize) -> Vec<usize> {
    let cells = |column: usize| rows.iter().filter_map(move |row| row.columns.get(column));
    let mut widths: Vec<_> = (0..headings.len())
        .map(|column| cells(column).map(|cell| cell.text().chars().count()).chain([headings[column].len()]).max())
        .map(Option::unwrap_or_default)
        .collect();
    let gaps = usize::from(SPACING) * headings.len().saturating_sub(1);
    let texts: Vec<_> = (0..headings.len()).filter(|column| !cells(*column).any(Column::is_number)).collect();
    loop {
        let over = (widths.iter().sum::<usize>() + gaps).saturating_sub(all);
        let widest = texts.iter().copied().max_by_key(|column| widths[*column]);
        let Some(widest) = widest.filter(|column| over > 0 && widths[*column] > LEAST) else { return widths };
        widths[widest] -= 1;
    }
}

fn cut(text: String, width: usize) -> String {
    if text.chars().count() <= width {
        return text;
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn machine(frame: &mut Frame<'_>, opened: &Opened, area: Rect) {
    let what = match opened.what {
        What::Routes => "effective routes",
        What::Rules => "effective rules",
        What::Drops => "drops",
    };
    let mut lines = vec![Line::styled(format!("{}: {what}", opened.node), STRONG)];
    if opened.lines.is_empty() {
        lines.push(Line::raw("none"));
    }
    let height = usize::from(area.height);
    lines.extend(opened.lines.iter().skip(opened.top).take(height).map(|line| Line::raw(line.as_str())));
    frame.render_widget(Paragraph::new(lines), area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Cell;
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    use super::super::sample::Sample;
    use super::*;

    /// What stands on a terminal of this size, and the lines that are shown the other way round.
    fn screen(app: &App, (width, height): (u16, u16)) -> (String, Vec<String>) {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, app)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let rows = || buffer.content.chunks(usize::from(width));
        let text = |cells: &[Cell]| cells.iter().map(Cell::symbol).collect::<String>().trim_end().to_owned();
        let is_chosen = |cell: &Cell| cell.modifier.contains(Modifier::REVERSED);
        let chosen = rows().map(|row| row.iter().filter(|cell| is_chosen(cell)).cloned().collect::<Vec<_>>());
        let chosen = chosen.map(|cells| text(&cells)).filter(|text| !text.is_empty());
        (rows().map(|row| text(row) + "\n").collect(), chosen.collect())
    }

    fn press(app: &mut App, code: KeyCode) {
        app.press(KeyEvent::new(code, KeyModifiers::NONE));
    }

    fn row(key: &str, bits: u64) -> Row {
        let state = Column::Text("up".to_owned());
        let columns = vec![
            Column::Text(key.to_owned()),
            Column::Bits(bits),
            Column::Bits(0),
            Column::Rate(bits / 1000),
            Column::Rate(0),
            Column::Count(bits),
            state,
        ];
        Row { node: Some(key.to_owned()), ..Row::new(key, columns) }
    }

    fn app(rows: Vec<Row>, trouble: &[&str]) -> App {
        let trouble = trouble.iter().map(|text| (*text).to_owned()).collect();
        let mut app = App::default();
        app.show(Sample { title: "lab  2 nodes".to_owned(), rows, trouble });
        app
    }

    #[test]
    fn a_list_is_drawn_whole() {
        let mut app = app(vec![row("web/eth0", 12_345), row("db/eth0", 1)], &[]);
        let (text, chosen) = screen(&app, (80, 8));
        let expected = "\
lab  2 nodes  all up
 1 Machines  2 Drops  3 Flows  4 Links
Interface    Sent/s Received/s Packets/s Drops/s Drops State
web/eth0  12.3 kbit          -        12       - 12.3k up
db/eth0       1 bit          -         -       -     1 up


Tab list  s sort (Packets/s)  / filter  Enter open  q quit
";
        assert_eq!(text, expected);
        assert_eq!(chosen, [" 1 Machines", "web/eth0  12.3 kbit          -        12       - 12.3k up"]);
        press(&mut app, KeyCode::Down);
        assert!(screen(&app, (80, 8)).1[1].starts_with("db/eth0 "));
        for key in ['/', 'd', 'B'] {
            press(&mut app, KeyCode::Char(key));
        }
        let (text, _) = screen(&app, (80, 6));
        assert!(!text.contains("web/") && text.ends_with("\nfilter: dB_   Enter done  Esc none\n"), "{text}");
        press(&mut app, KeyCode::Enter);
        assert!(screen(&app, (80, 6)).0.ends_with("/ filter  [dB]  Enter open  q quit\n"));
    }

    #[test]
    fn what_is_down_stands_in_the_first_two_lines() {
        for (trouble, head, tab) in [
            (&[][..], "lab  2 nodes  all up\n", " 4 Links\n"),
            (&["one is down"], "lab  2 nodes  ! one is down\n", " 4 Links (1 down)\n"),
            (&["one is down", "b", "c"], "lab  2 nodes  ! one is down, and 2 more\n", " 4 Links (3 down)\n"),
        ] {
            let (text, _) = screen(&app(Vec::new(), trouble), (80, 5));
            assert!(text.starts_with(head) && text.contains(tab), "{text}");
            assert_eq!(text.matches(" down)").count(), usize::from(!trouble.is_empty()), "{text}");
        }
    }

    #[test]
    fn an_empty_list_says_why() {
        for (list, words) in [
            (List::Machines, "the lab has no machines"),
            (List::Drops, "no packet has been dropped"),
            (List::Flows, "no flow is running"),
            (List::Links, "the lab has no tunnels, circuits, peerings, BGP sessions or probes"),
        ] {
            let mut app = app(Vec::new(), &[]);
            app.list = list;
            let (text, chosen) = screen(&app, (80, 5));
            assert_eq!(text.lines().nth(2), Some(words));
            assert_eq!(chosen.len(), 1, "the name of the list alone");
            app.show(Sample { rows: vec![row("web", 1)], ..Sample::default() });
            app.filter = "none".to_owned();
            assert_eq!(screen(&app, (80, 5)).0.lines().nth(2), Some("nothing has `none` in it; Esc shows all"));
        }
    }

    /// As many rows as there is room for below the heading, the chosen one in their middle where it can be.
    #[test]
    fn the_page_goes_with_the_chosen_row() {
        let rows = (0..9).map(|number| row(&format!("m{number}"), 9 - number)).collect();
        let mut app = app(rows, &[]);
        for (at, shown) in [(0, "m0 m1 m2"), (1, "m0 m1 m2"), (2, "m1 m2 m3"), (7, "m6 m7 m8"), (8, "m6 m7 m8")] {
            app.chosen = Some(format!("m{at}"));
            let (text, chosen) = screen(&app, (80, 7));
            let names: Vec<_> = text.lines().skip(3).take(3).filter_map(|line| line.split(' ').next()).collect();
            assert_eq!(names.join(" "), shown);
            assert!(chosen[1].starts_with(&format!("m{at} ")), "{chosen:?}");
        }
        app.chosen = Some("m4".to_owned());
        let (text, _) = screen(&app, (80, 4));
        assert!(text.lines().count() == 4 && text.contains("Tab list"), "{text}");
    }

    #[test]
    fn a_machine_is_shown_from_where_it_was_scrolled_to() {
        let mut app = app(vec![row("web", 1)], &[]);
        let lines: Vec<_> = (0..9).map(|number| format!("line {number}")).collect();
        app.open("web", What::Rules, lines.clone());
        press(&mut app, KeyCode::Down);
        let text = screen(&app, (60, 6)).0;
        let expected = "\
lab  2 nodes  all up
 1 Machines  2 Drops  3 Flows  4 Links
web: effective rules
line 1
line 2
r routes  u rules  d drops  Esc back  q quit
";
        assert_eq!(text, expected);
        for (what, words) in [(What::Routes, "web: effective routes"), (What::Drops, "web: drops")] {
            app.open("web", what, Vec::new());
            let text = screen(&app, (60, 6)).0;
            assert_eq!(text.lines().skip(2).take(2).collect::<Vec<_>>(), [words, "none"]);
        }
    }

    /// Numbers are never cut; texts are, the widest first, and none to less than eight characters.
    #[test]
    fn texts_give_way_to_numbers() {
        let cells = |texts: [&str; 2]| {
            let columns = [texts[0], texts[1]].map(|text| Column::Text(text.to_owned()));
            Row::new("key", [&columns[..], &[Column::Count(1_234)]].concat())
        };
        let rows = [cells(["a-long-name-of-twenty", "another-of-sixteen"])];
        let rows: Vec<_> = rows.iter().collect();
        for (all, expected) in [
            (80, [21, 18, 7]),
            (48, [21, 18, 7]),
            (47, [20, 18, 7]),
            (44, [18, 17, 7]),
            (25, [8, 8, 7]),
            (5, [8, 8, 7]),
        ] {
            assert_eq!(widths(&rows, &["First", "Second", "Packets"], all), expected, "{all}");
        }
        assert_eq!(cut("exactly8".to_owned(), 8), "exactly8");
        assert_eq!(cut("more than 8".to_owned(), 8), "more th…");
    }
}
