//! What can be downloaded, as others' programs read it (OpenAPI 3.1). Invariant: made from the tables that the routes
//! are made from; nothing is described that is not there, and nothing is there that is not described.

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use serde_json::{Map, Value, json};

use super::Route;
use super::downloads::{content_type, whole};
use crate::console::downloads::asked::NAME_LENGTH_MAX;
use crate::console::downloads::{
    CURSOR_LENGTH_MAX, Column, Download, FORMATS, Kind, LIMIT_MAX, POSITION_MAX, Parameter, Place,
    SEARCH_LENGTH_MAX, TABLES, Takes,
};
use crate::console::rights::Needs;
use crate::outputs::Format;

/// Where it is.
const PATH: &str = "/v1/openapi.json";

/// A month of the years that periods have.
const MONTH: &str = "^(19[7-9][0-9]|2[0-9]{3})-(0[1-9]|1[0-2])$";

/// No character that controls a terminal.
const LINE: &str = "^[^\\x00-\\x1f\\x7f-\\x9f]+$";

/// The route of the description.
pub fn routes() -> Vec<Route> {
    let text = format!("{:#}\n", document()).into_bytes();
    let answer = async move |request: Request| {
        let mut response = whole(text.clone(), request.headers());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    };
    vec![Route { path: PATH, needs: Needs::SignedIn, service: get(answer) }]
}

/// The description.
pub fn document() -> Value {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    schemas.insert("Problem".to_owned(), problem());
    for table in TABLES {
        schemas.insert(table.name.to_owned(), row(table));
        match table.place {
            Place::Paths(all) => {
                for (path, format) in all {
                    paths.insert(path.to_owned(), json!({ "get": operation(table, format) }));
                }
            }
            Place::Months(folder) => {
                for format in FORMATS {
                    let path = folder.replace("{file}", &format!("{{period}}.{}", format.ending()));
                    paths.insert(path, json!({ "get": operation(table, format) }));
                }
            }
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Seatbeat downloads",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Tables of a collector at stable addresses. Columns are only ever added, at the end. In CSV a \
                text that a spreadsheet would take for a formula has an apostrophe in front of it. In JSON an empty cell \
                is null, a quantity a number, and an amount of money a text.",
        },
        "servers": [{ "url": "/" }],
        "security": [{ "bearer": [] }, { "basic": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "description": "An operator's token, or a program's." },
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "The same token as the password; any user.",
                },
            },
            "schemas": schemas,
        },
    })
}

fn operation(table: &Download, format: Format) -> Value {
    let month = matches!(table.place, Place::Months(_)).then(|| {
        let schema = json!({ "type": "string", "pattern": MONTH });
        json!({ "name": "period", "in": "path", "required": true, "description": "The month.", "schema": schema })
    });
    let parameters: Vec<Value> = month.into_iter().chain(table.parameters.iter().map(parameter)).collect();
    json!({
        "operationId": format!("{}-{}", table.name, format.ending()),
        "summary": format!("{} as {}", table.name, format.ending().to_uppercase()),
        "description": table.about,
        "parameters": parameters,
        "responses": responses(table, format),
    })
}

fn responses(table: &Download, format: Format) -> Value {
    let schema = match format {
        Format::Json => {
            let row = format!("#/components/schemas/{}", table.name);
            json!({ "schema": { "type": "array", "items": { "$ref": row } } })
        }
        Format::Csv => json!({ "schema": { "type": "string" } }),
        _ => json!({}),
    };
    let kind = content_type(format).split(';').next().unwrap_or_default();
    let text = json!({ "schema": { "type": "string" } });
    let mut headers = json!({ "ETag": text, "Content-Disposition": text });
    if table.cursor().is_some() {
        headers["Link"] =
            json!({ "description": "The next page, where there is one.", "schema": { "type": "string" } });
    }
    let fault = |words: &str| {
        let schema = json!({ "$ref": "#/components/schemas/Problem" });
        json!({ "description": words, "content": { "application/problem+json": { "schema": schema } } })
    };
    json!({
        "200": { "description": "The table.", "headers": headers, "content": { kind: schema } },
        "304": { "description": "It is what `If-None-Match` names." },
        "400": fault("A parameter cannot be used; the detail names it."),
        "401": fault("No token, or one of nobody who is let in."),
        "403": fault("The role or the reach is too small."),
        "404": fault("What is named is not known here."),
        "409": fault("The month cannot be shown yet."),
        "503": fault("The collector cannot answer now: ask again."),
    })
}

fn parameter(parameter: &Parameter) -> Value {
    let schema = match parameter.takes {
        Takes::Customer => json!({ "type": "string", "pattern": id("cus_") }),
        Takes::Product => json!({ "type": "string", "pattern": "^(family/)?[A-Za-z0-9_.-]{1,65}$" }),
        Takes::OneOf(words) => json!({ "type": "string", "enum": words }),
        Takes::Name => json!({ "type": "string", "pattern": format!("^[!-~]{{1,{NAME_LENGTH_MAX}}}$") }),
        Takes::Text => {
            json!({ "type": "string", "minLength": 1, "maxLength": SEARCH_LENGTH_MAX, "pattern": LINE })
        }
        Takes::Day => json!({ "type": "string", "format": "date" }),
        Takes::Flag => json!({ "type": "boolean" }),
        Takes::Limit => json!({ "type": "integer", "minimum": 1, "maximum": LIMIT_MAX }),
        Takes::Cursor => {
            let key = format!("^([ -~]{{0,{}}}/)?mch_[A-Za-z0-9_.-]{{1,68}}$", CURSOR_LENGTH_MAX - 80);
            json!({ "type": "string", "pattern": key })
        }
        Takes::Position => json!({ "type": "integer", "minimum": 0, "maximum": POSITION_MAX }),
    };
    json!({ "name": parameter.name, "in": "query", "description": parameter.about, "schema": schema })
}

fn id(prefix: &str) -> String {
    format!("^{prefix}[A-Za-z0-9_.-]{{1,68}}$")
}

fn row(table: &Download) -> Value {
    let properties: Map<String, Value> =
        table.columns.iter().map(|column| (column.name.to_owned(), cell(column))).collect();
    let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
    json!({
        "type": "object",
        "description": table.about,
        "properties": properties,
        "required": names,
        "additionalProperties": false,
    })
}

fn cell(column: &Column) -> Value {
    let mut schema = match column.kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Id(prefix) => json!({ "type": "string", "pattern": id(prefix) }),
        Kind::Month => json!({ "type": "string", "pattern": MONTH }),
        Kind::Day => json!({ "type": "string", "format": "date" }),
        Kind::Instant => json!({ "type": "string", "format": "date-time" }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Number => json!({ "type": "number" }),
        Kind::Money => json!({ "type": "string", "pattern": "^-?[0-9]+(\\.[0-9]+)?$" }),
    };
    if column.may_be_empty {
        schema["type"] = json!([schema["type"], "null"]);
    }
    schema["description"] = json!(column.about);
    schema
}

fn problem() -> Value {
    let text = json!({ "type": "string" });
    json!({
        "type": "object",
        "description": "Problem Details (RFC 9457).",
        "properties": {
            "title": text,
            "status": { "type": "integer" },
            "detail": text,
            "reason": text,
            "hint": text,
        },
        "required": ["title", "status", "detail", "reason"],
    })
}
