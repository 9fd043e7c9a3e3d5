"""Weights of the network that tells heads from other blobs of skin color. Written by benchmarks.quality.train_heads."""

from __future__ import annotations

SCALE = 100.2825
"""Divisor of the weights in `UNITS`, which are whole numbers from -128 to 127."""

BIAS = -0.363

UNITS: tuple[tuple[str, tuple[float, float, float], float, float], ...] = (
    (
        "n15(>gnezbmuYZ<kcESkj&`ApZ+wt}h=_r3iGP4_et&k1m40Y+c43p3gKd3vP?Up?cXWMxjgEtEb8&c!gMVvraC?x0cWGyOf`^TLUT=wnhl_D*Zh3r+m4bwgi*x",
        (0.134, 0.196, 0.153),
        0.769,
        -1.413,
    ),
    (
        "Y<GmGhH`^<Wpt5sb%%d*espwmh>wMFY<rNAi*$scf^v3zagdIQc8P+Dl4_ZNesx?^S#x%Zd30N3YJQTBgLrd#hoY2-XlrSUn~s=sTzHa?mWXv>cY=qVm3L%yj+F",
        (0.313, 0.399, 0.203),
        1.043,
        -1.694,
    ),
    (
        "m5q*fh>@F=ihyBhfun4Ka+qm=c!6(gbz^0ScYK9@hJbH~m3v=>iH3oqgl3SCdvAGUU1fT5Yixm&gKKbkgrcgaiFA09uAaA+c!F+`ua<Ivj%|3Be{YV5c654haES",
        (-0.168, 0.323, -0.192),
        -0.575,
        1.781,
    ),
    (
        "k%4t@bb*k3b$Nt;e0p_llBkt)dS`;2gQ10IcY~3Bj(>1=fPaX6g>{X1e|LIyg=l?@kBoe5ewT}Uj+%mbnR|JBoql$TfpCM3e0+qAj*NnOZ+n}WmUnG)Y?7OnYHt",
        (-0.349, 0.062, -0.217),
        -0.202,
        1.248,
    ),
    (
        "oQ;^Pj-7OTb(EofTyTD7hK_|_UV?jpXn10IYk+-&ihYKOgL{3JkA!r0cZPn4f`W*YnSp_ccz=PEeRFeuad?e>Y;Jj9bCGgbba-uZadCBifPaLAi-?AWg@uoZg@*",
        (0.183, -0.263, 0.129),
        0.86,
        -1.385,
    ),
    (
        "ewu}Te~+Sic8Gz8g`Q<>i-wAWlxSjqfPQ{?nTmyWcYkqni+pEnhIxgTiiUJ_YJ-D^nVN%*adeH5l8=yKXnu-`f{kcdb&-8+es+O-c7AkdafW_vba!KUjgE(bhHU",
        (0.229, -0.464, 0.215),
        1.086,
        -1.41,
    ),
    (
        "eS~~+gN1&Ah<0#)iF$sLdR%{zfqIL0ig<!|ZH;}Qc!p??fO(#Qe1(38aguw5dX9v8SZ;lWkDHNxkdlXWa*&INa&c>3f}?t0YH56pm4|z7gOiSijgfqtpp0;dnv?",
        (0.392, -1.266, 0.311),
        -0.105,
        -1.852,
    ),
    (
        "czS<pXnur^mXdN{lBs=?p>l?jfpCVCjdg-<a({kqhl`VDd3<Sonuttyb8~%`pNoWfdWwFGig<!^go}ZQba-xpdwqp^XK;Umg@J-^Wr&%Ob#rQNd7GSWfr5B~o}v",
        (0.157, -0.107, 0.145),
        0.392,
        -1.446,
    ),
)
"""Hidden units: the weights of a patch (base 85, brightness before skin), of three facts, bias, output weight."""
