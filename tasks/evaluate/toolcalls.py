"""Can the calls be parsed, and are they the right ones?"""

from statistics import fmean
from typing import Any

from tasks.chat import parse_tool_calls


def tool_call_scores(items: list[dict[str, Any]]) -> dict[str, float]:
    """Shares over the items that expect a call of `check["tool"]`; each gets its `checks`. Empty when none does.

    valid: exactly one call and nothing broken; right name; and, where `check["arguments"]` says them, right arguments.
    """
    expecting = [item for item in items if item["check"].get("tool")]
    for item in expecting:
        _, calls, broken = parse_tool_calls(item["answer"])
        call = calls[0] if len(calls) == 1 and not broken else None
        item["checks"] = {
            "parsed": call is not None,
            "name": call is not None and call.name == item["check"]["tool"],
            "arguments": call is not None and call.arguments == item["check"].get("arguments", call.arguments),
        }
    if not expecting:
        return {}
    checks = [item["checks"] for item in expecting]
    return {
        "tool_call_parsed": fmean(check["parsed"] for check in checks),
        "tool_call_validity": fmean(check["name"] for check in checks),
        "tool_call_arguments": fmean(check["name"] and check["arguments"] for check in checks),
        "tool_call_answers": len(checks),
    }
