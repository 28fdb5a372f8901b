"""The table of published layouts: adding one is a file and a row."""

from collections.abc import Mapping
from types import MappingProxyType

from labelled_folder.published.cityscapes import CITYSCAPES
from labelled_folder.published.layout import Layout
from labelled_folder.published.nyudv2 import NYUDV2
from labelled_folder.published.pascal_context import PASCAL_CONTEXT

LAYOUTS: Mapping[str, Layout] = MappingProxyType({row.name: row for row in (PASCAL_CONTEXT, NYUDV2, CITYSCAPES)})
