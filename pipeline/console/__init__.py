"""The console: web pages for operators, rendered on the server. It uses the same functions as the API and the CLI.

    dispatch       authentication, roles, CSRF check, error pages
    routes         routes, and the composition of the pages
    auth           sign-in, roles, signed cookies, CSRF tokens
    request        a request with its user, query and form
    responses      pages, redirects and images, with security headers
    templates      Jinja templates and static files
    formatting     sizes, times and numbers with units
    charts         SVG charts
    cache          stale-while-revalidate cache
    forms          forms from the parameter schemas of transforms
    recipe_draft   a draft of a recipe, as a form and as YAML
    alerts         problems and their remedies (remediation)
    …              one module for each page

Every page works without scripts. Scripts add live figures, the comparison slider, and drawing on an image.
"""
