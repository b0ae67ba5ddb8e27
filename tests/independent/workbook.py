"""Reads a workbook and prints what is in it: of each sheet its name and its rows of values.

workbook.py FILE
"""

import json
import sys

from openpyxl import load_workbook

book = load_workbook(sys.argv[1])
sheets = [[sheet.title, [[cell.value for cell in row] for row in sheet.iter_rows()]] for sheet in book.worksheets]
print(json.dumps({"created": book.properties.created.isoformat(), "sheets": sheets}))
