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
