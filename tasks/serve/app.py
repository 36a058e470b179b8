"""The app: OpenAI's endpoints, health, metrics and a chat page, over one model."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from tasks.serve import chat, completions, errors, responses, shapes, texts
from tasks.serve.guard import Guard
from tasks.serve.keys import Keys
from tasks.serve.service import Service
from tasks.serve.settings import Settings

PAGE = Path(__file__).parent / "page.html"
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; img-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def create_app(model_dir: Path, settings: Settings | None = None) -> FastAPI:
    """The app over a directory of the quantize stage. `app.state.service` has the engine, which closes with the app;
    `app.state.drain` refuses new requests, `app.state.replace` serves another directory.

    Raises what Keys and Service raise.
    """
    settings = settings or Settings()
    keys, service = Keys(settings), Service(model_dir, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.engine.close()

    anything_else: dict[int | str, dict[str, Any]] = {"default": {"model": shapes.Error, "description": "An error"}}
    app = FastAPI(
        title="Fullchain", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url="/openapi.json",
        responses=anything_else,
    )  # fmt: skip
    app.state.service, app.state.drain, app.state.replace = service, service.drain, service.replace
    errors.install(app)
    app.include_router(chat.router(service))
    app.include_router(completions.router(service))
    app.include_router(responses.router(service))
    app.include_router(texts.router(service))
    app.include_router(_about(service))
    app.add_middleware(Guard, settings=settings, keys=keys, metrics=service.metrics)
    return app


def _about(service: Service) -> APIRouter:
    """What the server says of itself."""
    routes, created = APIRouter(), int(time.time())

    def model(name: str) -> dict:
        facts = {"id": name, "object": "model", "created": created, "owned_by": "fullchain"}
        return facts | {"max_model_len": service.engine.session.length}

    @routes.get("/v1/models", responses={200: {"model": shapes.Models}})
    async def models() -> dict:
        return {"object": "list", "data": [model(name) for name in service.model.names]}

    @routes.get("/v1/models/{name:path}", responses={200: {"model": shapes.Model}})
    async def one_model(name: str) -> dict:
        service.model.adapter(name)
        return model(name)

    @routes.get("/health", response_model=None, responses={n: {"model": shapes.Health} for n in (200, 503)})
    async def health() -> JSONResponse:
        status = "draining" if service.engine.draining else "ok"
        body = {"status": status, "running": service.engine.running, "waiting": service.engine.waiting}
        return JSONResponse(body, 200 if status == "ok" else 503)

    @routes.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    @routes.get("/", response_class=HTMLResponse)
    async def page() -> HTMLResponse:
        return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers=PAGE_HEADERS)

    return routes
