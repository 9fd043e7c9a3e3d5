"""The console: pages for people, made on the server, on top of what the HTTP API and the command line use too.

    routes      which page answers an address, and who may ask for it
    access      who somebody is: sign-in, roles, the cookie, tokens against forged forms
    answers     pages, redirects, images, with the headers that keep a browser safe
    look        templates and the words in them: sizes, times, numbers with units
    charts      SVG out of plain numbers
    lately      what many look at: shown at once, asked for again behind the page
    fields      forms out of the transforms' own parameter descriptions
    draft       a recipe in the making, as a form and as YAML
    attention   what is to be said first, and what to do about it (advice)
    …           one module for each page

Every page works without its scripts. They add what only a script can: live figures, the slider, drawing on a picture.
"""
