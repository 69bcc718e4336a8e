"""How the HTML page is put together: texts and tables by Python, figures as data that `page.js` draws."""
