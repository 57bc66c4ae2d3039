"""``GET /ws/public/widget``: what the chat widget of a tenant shows, and whether anyone is there to chat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from twisted.web.server import Request

from callcenter_ws.cluster.availability import AgentsThere
from callcenter_ws.config.settings import Settings
from callcenter_ws.config.tenant_settings import TenantSettings
from callcenter_ws.config.widget import WidgetSettings
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.http.responses import JsonResource, Response, json_response, origin_of, query_value
from callcenter_ws.runtime.http_head import is_percent_encoded

_SHOWN = ("title", "greeting", "offline_text", "color", "position", "language", "ask_name", "queue_name")
"""The settings that the widget is sent. Empty texts are null."""


@dataclass(frozen=True, slots=True)
class PublicWidget:
    """The widget of a tenant with public access.

    Attributes:
        anonymous: whether visitors without a token are accepted.
    """

    anonymous: bool
    settings: WidgetSettings


@dataclass(slots=True)
class WidgetOptions:
    """The widgets of all tenants with public access, by tenant id; a reload may replace them."""

    widgets: Mapping[str, PublicWidget] = field(default_factory=dict)

    def open_queues(self, tenant_id: str) -> frozenset[str]:
        """Return the queues that every visitor of a tenant may name."""
        widget = self.widgets.get(tenant_id)
        return frozenset() if widget is None else widget.settings.open_queues

    def queue_of(self, tenant_id: str) -> str | None:
        """Return the queue of chats of which the visitor names none."""
        widget = self.widgets.get(tenant_id)
        return None if widget is None else widget.settings.queue_name


def widgets_of(settings: Settings) -> Mapping[str, PublicWidget]:
    """Return the widgets that the settings describe: of every tenant of ``public.tenants``."""
    own = settings.tenants.by_name
    return {
        name: PublicWidget(tenant.anonymous, own.get(name, TenantSettings()).widget)
        for name, tenant in settings.public.tenants.items()
    }


class PublicWidgetResource(JsonResource):
    """Responds to pages that contain the widget, without a token.

    It tells no more than whether anyone is there. A tenant that has no public access gets the same response as one that
    does not exist.

    Args:
        options: what a reload may change; its present values are used for each response.
        check_origin: raises Refusal unless pages of an origin may contain the widget of a tenant.
    """

    def __init__(
        self, options: WidgetOptions, there: AgentsThere, check_origin: Callable[[str, str | None], None]
    ) -> None:
        super().__init__(get=self._widget)
        self._options = options
        self._there = there
        self._check_origin = check_origin

    async def _widget(self, request: Request) -> Response:
        if not is_percent_encoded(request.uri):
            raise Refusal(ErrorCode.INVALID_MESSAGE, "the request target has a % without two hexadecimal digits")
        tenant_id = query_value(request, "tenant_id")
        if tenant_id is None:
            raise Refusal(ErrorCode.INVALID_MESSAGE, "tenant_id: required")
        widget = self._options.widgets.get(tenant_id)
        if widget is None:
            raise Refusal(ErrorCode.NOT_FOUND, "this tenant has no chat widget")
        self._check_origin(tenant_id, origin_of(request))
        settings = widget.settings
        values = {name: getattr(settings, name) for name in _SHOWN}
        return json_response(
            {
                "tenant_id": tenant_id,
                "available": await self._there.is_available(tenant_id, settings.available),
                "anonymous": widget.anonymous,
                "widget": {name: None if value == "" else value for name, value in values.items()},
            }
        )
