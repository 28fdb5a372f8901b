"""The page of one bundle: report.html, section by section."""
