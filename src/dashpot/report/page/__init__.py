"""``report.html``: what a command found as one page that needs nothing but itself."""
