"""Errors in OpenAI's shape: {"error": {"message", "type", "param", "code"}} with the fitting status."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from models.engine import Draining, PromptTooLong, QueueFull

RETRY_AFTER_S = 1  # about as long as a short answer takes


class ApiError(Exception):
    """An answer that says what is wrong with the request, or with the server."""

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None,
        retry_after_s: int = RETRY_AFTER_S,
    ):  # fmt: skip
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.retry_after_s = retry_after_s

    @property
    def body(self) -> dict:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        kind = {401: "authentication_error", 429: "rate_limit_error"}.get(self.status, kind)
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        headers = {"Retry-After": str(self.retry_after_s)} if self.status in (429, 503) else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.body, self.status, headers)


def as_api_error(error: Exception, param: str) -> ApiError:
    """What the engine refuses, in terms of HTTP, `param` being the prompt's field.

    Other exceptions are the server's fault and stay what they are.
    """
    match error:
        case ApiError():
            return error
        case PromptTooLong():
            return ApiError(400, str(error), param, "context_length_exceeded")
        case QueueFull():
            return ApiError(429, f"{error}; try again in a moment", code="queue_full")
        case Draining():
            return ApiError(503, str(error), code="draining")
        case ValueError():
            return ApiError(400, str(error), str(error).partition(":")[0])
    raise error


def install(app: FastAPI) -> None:
    """Make every error the app can answer with an OpenAI one."""

    @app.exception_handler(ApiError)
    async def known(_: Request, error: ApiError) -> JSONResponse:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
        return ApiError(400, f"{where}: {first['msg']}", where, first["type"]).response()

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        return ApiError(error.status_code, f"{request.method} {request.url.path}: {error.detail}").response()

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        # The log has the traceback; the client gets no inner detail.
        return ApiError(500, f"internal error ({type(error).__name__}); see the server's log").response()
