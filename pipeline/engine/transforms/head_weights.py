"""Weights of the network that tells heads from other blobs of skin color. Written by benchmarks.quality.train_heads."""

from __future__ import annotations

SCALE = 201.3995
"""Divisor of the weights in `UNITS`, which are whole numbers from -128 to 127."""

BIAS = -1.389

UNITS: tuple[tuple[str, tuple[float, float, float, float], float, float], ...] = (
    (
        "YJ*2TPM2_ot9Aj!sFG{jfPs$9iKnNlpN)ZQkcMJkSXP#7mxXDOa%7#HNP2;PWUG>ogNBNvnT(Twp_ZwMkD!T#j(u5emxg*cPf&H8WP2q!WVM!GlAus;wuEn<u~Y",
        (-0.156, -0.309, 0.011, -0.336),
        0.517,
        -1.505,
    ),
    (
        "l#+;vzmaT_hndO3Jz9l)e2Q*Ge|dgwU{Nb{i;R1ud82!MjeDP!d0xw+U~h+6R=Q<`zsaS#Ry~}rjZKnoLXNX84^@z0hNU6`ePo$|nMYSbTXU9~d2CIKi_)6be_#",
        (-0.028, -0.143, -0.026, 0.033),
        0.964,
        -1.825,
    ),
    (
        "o1c_^oQs{If=y>ci-ChmS*U+<fSgcmd#p`~yIoC+lSP+le2R{jkbF_GkZ60cgq*XTc#XNQlXp>XT7#RSOK@jfTfC}UV_sWlnZaR!cz|Y-wThyfot3S3eubKEbAk",
        (-0.286, 0.052, 0.011, -0.1),
        -0.381,
        1.38,
    ),
    (
        "RAH9TjALF!oY;E7rc!9sPa;{>U5}hNx<i$dm6l*=WuA*%ZnA2(YISpZlWLcCeP(=pb9;|skF0BUWTlRLdw7(6bAfw|l#i5+gm{jLb&HO1a$teIgIk4fLvELMPj>",
        (0.04, -0.223, 0.253, -0.008),
        -0.196,
        1.454,
    ),
    (
        "lU`j=TwbM&Qg^(QPKI@W(5dKbcXGgZeUYwyRC|_$oPSGrPJF3gO@erGbjx*layVjfd316<a)W_~gnDdkiFJgBd~0cWa-Dc?a(r!dj(d26f`O=tqlSitoR6M?mVE",
        (0.49, 0.452, -0.108, 0.705),
        -0.309,
        1.342,
    ),
    (
        "cyF|#lW&cQZ?AH9h>DX(hgDu-ZG2R7eP?}>r=^c$wTXy$V`f{KsGmhjm#b%(pr4C`f_sFXlbEV?l8S_0W{!D*bYNO^x1FneUSyB2o1(ITTAg=ihq!8ym6JA&v7`",
        (0.263, -1.549, -0.066, 0.022),
        0.546,
        -1.692,
    ),
    (
        "U~PiZcwvH9BR;2>i?VZSIDV$1!n}}JXNYuOhmDG!O?Q2bj+UZ_K&6pxk94m{j5A-2Mi)zKcWG2UZ+3o{YA}g_lB23&cz~;MqO_oJd4GPFp?hhLg?fsZbFqN3bfW",
        (-0.065, 0.107, 0.131, -0.116),
        0.726,
        -1.492,
    ),
    (
        "e7lNwZjh{cg2q#@nV4LEcZY<abz6UBhnmrdfpA}LTX}sfo~n9ck55UISb#jToOXN1xruP6U0HySi$PXdKUkHEg0zM+IGTKopFuP`fO&#sU}AG$cwTXJiLj%mjD!",
        (-0.239, 0.696, -0.104, -0.065),
        0.89,
        -1.679,
    ),
    (
        "pn6TXV{>r4ua-_>OlO&=bZB;oW=NrVe3YZCYF}HBi=u>;f2MSBk!YEJtzdwDa4j?!D}YlnkAG@Hf_RX|>xpc0!ndKcluw7hwy%0(IC-_km~B8$C~LL6l#F?TXt)",
        (-0.248, 0.48, 0.027, -0.415),
        0.615,
        -1.86,
    ),
    (
        "a*d&WwS<VBkCGaiexR{)Ah9olx`8ffpKdyYrkR3hhM%K^pLq{>qJ^D&d3<<(lSfZVP*g=mRZ)(shgVr&joY`+m|j`3x4NgdQe0lN$FgW$dSI@_vu=AnXNR+QRzv",
        (0.013, 0.304, 0.172, -0.024),
        -0.258,
        1.752,
    ),
)
"""Hidden units: the weights of a patch (base 85, brightness before skin), of four facts, bias, output weight."""
