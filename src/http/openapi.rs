//! The OpenAPI document. It is made from the handlers, so that the two cannot differ.

use std::collections::{BTreeMap, BTreeSet};

use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    Components, Content, Header, Info, Object, ObjectBuilder, OpenApi, OpenApiBuilder, RefOr,
    Response, Schema, schema::SchemaType, schema::Type,
};

use super::problem::ProblemDocument;

pub(super) fn base() -> OpenApi {
    let mut info = Info::new("Narthex", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "A gateway that gives every tenant its own PostgreSQL database. Errors are RFC 9457 problem documents; \
         every `code` is explained at `/problems/{code}`."
            .to_owned(),
    );
    OpenApiBuilder::new().info(info).build()
}

/// Adds the parts that no handler can state: how a token is sent, and the shape of a problem.
pub(super) fn finish(mut document: OpenApi) -> OpenApi {
    let components = document.components.get_or_insert_with(Components::default);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    components.add_security_scheme("token", SecurityScheme::Http(bearer));
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    components.add_security_scheme("operator", SecurityScheme::Http(bearer));
    let cookie = ApiKey::Cookie(ApiKeyValue::new("__Host-narthex_access"));
    components.add_security_scheme("cookie", SecurityScheme::ApiKey(cookie));
    let mut schemas = Vec::new();
    <ProblemDocument as utoipa::ToSchema>::schemas(&mut schemas);
    schemas.push((
        <ProblemDocument as utoipa::ToSchema>::name().into_owned(),
        <ProblemDocument as utoipa::PartialSchema>::schema(),
    ));
    components.schemas.extend(schemas);
    say_what_holds_everywhere(&mut document);
    // Every operation that accepts the token of a tenant's staff accepts the cookie too.
    let token = SecurityRequirement::new::<_, _, String>("token", []);
    let operations = document.paths.paths.values_mut().flat_map(|item| {
        [&mut item.get, &mut item.post, &mut item.patch, &mut item.put, &mut item.delete]
    });
    let securities = operations.flatten().filter_map(|operation| operation.security.as_mut());
    for security in securities.filter(|security| security.contains(&token)) {
        security.push(SecurityRequirement::new::<_, _, String>("cookie", []));
    }
    document
}

/// Adds the conventions of every call here, where no handler can forget them.
fn say_what_holds_everywhere(document: &mut OpenApi) {
    let mut inputs = BTreeSet::new();
    let items = document.paths.paths.values_mut();
    let operations = items.flat_map(|item| {
        [&mut item.get, &mut item.post, &mut item.patch, &mut item.put, &mut item.delete]
    });
    for operation in operations.flatten() {
        if let Some(RefOr::T(body)) = &mut operation.request_body {
            inputs.extend(body.content.values_mut().filter_map(named_schema));
        }
        for (status, response) in &mut operation.responses.responses {
            if let RefOr::T(response) = response {
                add_headers(status, response);
            }
        }
    }
    let Some(components) = &mut document.components else { return };
    include_parts(&mut inputs, &components.schemas);
    for (name, schema) in &mut components.schemas {
        if let RefOr::T(schema) = schema {
            match (inputs.contains(name), name.as_str()) {
                (true, _) => allow_null(schema),
                // Members that belong to few problems are absent from the others.
                (false, "ProblemDocument") => {}
                (false, _) => require_all(schema),
            }
        }
    }
}

/// The name of a body's schema. An optional body is not nullable.
fn named_schema(content: &mut RefOr<Content>) -> Option<String> {
    let RefOr::T(Content { schema: Some(schema), .. }) = content else { return None };
    if let RefOr::T(Schema::OneOf(choice)) = schema {
        *schema = choice.items.iter().find(|item| matches!(item, RefOr::Ref(_)))?.clone();
    }
    reference(schema)
}

/// The schemas inside a body are inputs too.
fn include_parts(inputs: &mut BTreeSet<String>, schemas: &BTreeMap<String, RefOr<Schema>>) {
    let mut open: Vec<String> = inputs.iter().cloned().collect();
    while let Some(name) = open.pop() {
        let Some(RefOr::T(Schema::Object(object))) = schemas.get(&name) else { continue };
        let parts = object.properties.values().filter_map(reference);
        open.extend(parts.filter(|part| inputs.insert(part.clone())));
    }
}

/// The name of the schema that this refers to, directly or as one of several.
fn reference(schema: &RefOr<Schema>) -> Option<String> {
    match schema {
        RefOr::Ref(reference) => reference.ref_location.rsplit('/').next().map(str::to_owned),
        RefOr::T(Schema::OneOf(choice)) => choice.items.iter().find_map(reference),
        RefOr::T(_) => None,
    }
}

fn add_headers(status: &str, response: &mut Response) {
    let mut add = |name: &str, description: &str| {
        let text = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String)).build();
        let mut header = Header::new(Schema::Object(text));
        header.description = Some(description.to_owned());
        response.headers.insert(name.to_owned(), RefOr::T(header));
    };
    add("X-Request-Id", "By which the request is found in logs.");
    match status {
        "201" => add("Location", "Where what was made is found."),
        "401" => add("WWW-Authenticate", "How to sign in."),
        "429" => {
            add("Retry-After", "Seconds.");
            add("RateLimit", "What is left of the limit, and when it is whole again.");
            add("RateLimit-Policy", "The limit.");
        }
        "503" => add("Retry-After", "Seconds."),
        _ => {}
    }
}

fn properties(schema: &mut Schema) -> Vec<&mut Object> {
    match schema {
        Schema::Object(object) => vec![object],
        Schema::AllOf(all) => {
            let parts = all.items.iter_mut().filter_map(|item| match item {
                RefOr::T(part) => Some(properties(part)),
                RefOr::Ref(_) => None,
            });
            parts.flatten().collect()
        }
        _ => Vec::new(),
    }
}

/// On output every field is always present.
fn require_all(schema: &mut Schema) {
    for object in properties(schema) {
        object.required = object.properties.keys().cloned().collect();
    }
}

/// Absent and `null` mean the same on input.
fn allow_null(schema: &mut Schema) {
    for object in properties(schema) {
        let Object { properties, required, .. } = object;
        for (name, property) in properties.iter_mut() {
            let kind = match property {
                RefOr::T(Schema::Object(property)) => &mut property.schema_type,
                RefOr::T(Schema::Array(property)) => &mut property.schema_type,
                _ => continue,
            };
            if let (SchemaType::Type(plain), false) = (&kind, required.contains(name)) {
                *kind = SchemaType::Array(vec![plain.clone(), Type::Null]);
            }
        }
    }
}
