"""The models as X-AnyLabeling's remote server lists them: what can be chosen in its window, and with which defaults."""

from collections.abc import Mapping, Sequence
from typing import Any

POLYGONS, POLYGONS_WITH_HOLES, RECTANGLES = "polygons", "polygons_with_holes", "rectangles"
TASKS = {POLYGONS: "Polygons", POLYGONS_WITH_HOLES: "Polygons with holes", RECTANGLES: "Rectangles"}
DEFAULT_THRESHOLD = 0.5  # of scores and of overlaps, for an archive that doesn't say
FINENESS = 10  # of the tool's slider, from 1 to 100: an epsilon_factor of 0.001
FINENESS_WIDGETS = ("mask_fineness_slider", "mask_fineness_value_label")


def models_for_tool(descriptions: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Describes models.

    Args:
        descriptions: as in the schema Model of the OpenAPI document.

    Returns:
        The schema ToolModel for each model, by its name.

    Source: "API Reference" and "Configuration Guide" of X-AnyLabeling-Server.
    """
    return {each["name"]: _described(each) for each in descriptions}


def _described(model: Mapping[str, Any]) -> dict[str, Any]:
    widgets = {
        "button_run": None,
        "input_conf": None,
        "edit_conf": model.get("score_threshold", DEFAULT_THRESHOLD),
        "input_iou": None,
        "edit_iou": model.get("nms_threshold", DEFAULT_THRESHOLD),
        "mask_fineness_slider": FINENESS,
        "mask_fineness_value_label": None,
        "button_classes_filter": None,
        "toggle_preserve_existing_annotations": False,
    }
    tasks = TASKS if model.get("has_masks", True) else {RECTANGLES: TASKS[RECTANGLES]}
    return {
        "display_name": model["name"],
        "batch_processing_mode": "default",
        "classes": model.get("classes", []),
        "widgets": [{"name": name, "value": value} for name, value in widgets.items()],
        "available_tasks": [
            {
                "id": id,
                "name": name,
                "batch_processing_mode": "default",
                "active_widgets": {
                    widget: {} for widget in widgets if id != RECTANGLES or widget not in FINENESS_WIDGETS
                },
            }
            for id, name in tasks.items()
        ],
    }
