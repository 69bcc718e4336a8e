"""Figures as SVG, PNG and PDF for papers, drawn by matplotlib from their description (`report.plots`)."""
