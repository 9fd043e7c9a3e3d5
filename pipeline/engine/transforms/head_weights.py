"""Weights of the network that tells heads from other blobs of skin color. Written by benchmarks.quality.train_heads."""

from __future__ import annotations

SCALE = 184.1906
"""Divisor of the weights in `UNITS`, which are whole numbers from -128 to 127."""

BIAS = -1.571

UNITS: tuple[tuple[str, tuple[float, float, float, float], float, float], ...] = (
    (
        "dvah^mV9fTlUPr&nwf`~kZq@ceVV6@g@uZEpO1WPWodDWoL_EwZDg{Xb#RPeS8ipJmVkJRcz%FtfP|2eihEsQcbb!mX<TP?d5(o-MP6udl#*d#XL4znmXnl_h=2",
        (-0.17, 0.545, 0.03, -0.517),
        1.189,
        -1.292,
    ),
    (
        "n39*wy@X+oX@Iq-USW}EX_kRDeS=V2abh}fbAN)AeSdG6ijkeNd4-&ycBykxSBQ#`g?oN~a+;QwdVpPbikg&YWo&X(hoo#hZES3Ua%6B@eUp!Vhj~wmp@W8Zh*S",
        (0.171, -0.592, 0.076, -0.146),
        1.181,
        -1.413,
    ),
    (
        "rCDNie_5SVPO9ItT3&3iqhpxEWsZ(MaayK&eyCnMYlwzwkg92#lY@0}j;wWWgl&M2qm+tUjG$>tU!;VDiE(;ph=+`aY=C2ki-MSlhk&7pbZ?P^k9%)iYLlImWK{",
        (-0.006, 0.121, -0.002, 0.309),
        -0.193,
        1.394,
    ),
    (
        "Hc+y^xluHKzmQ{-!g!mjIX^?KpOK7Km{^dTW|N6{jg4NGRFI33S&fZ(j$e{`g_Eg%Uwx*Knt4QOOM01nY?-m1a(QHVpNXG+WO8YYqK#y3hHiAEaBhQrX=r(AYkm",
        (-0.082, 0.079, 0.087, 0.299),
        -0.17,
        1.565,
    ),
    (
        "evx=zYLAg>Y;cxRRC|bZxWBGoj#H(yU#p*GZ*-rQuz_TGPI$MAP;QxRZ+moTiDG$<goJZyh^v`tl$eWXr*?LBre|l3QC3csXmXW{f{2-DdUmIks(N*BYoel`VPO",
        (0.088, 0.187, -0.046, 0.621),
        -0.633,
        1.413,
    ),
    (
        "gkNi>afN-5jCEl|Yki)ipj>s8SESL7esqF#T9Rpbn|_pTW?OWjvx#kMRzZ`^teu&ihk$r!hn<*#cX(xma&c*EQ&f0uet>ykR$*>{T6dOtVt;^aoxh1~n468U#fk",
        (0.053, -0.237, 0.053, -0.423),
        1.094,
        -1.414,
    ),
    (
        "QeBwAb7PZkTZ*V$Zk}mSb9ZH&r-Dv(Y-*dEopyMne`{@sgtwr5d6|P(lYfVdm03<!Wo~wsZ*p;ag_Wa>X<~AOp{H|RY<q-+p>>F4XNQK1X^4Ysb%~&Xl6GKnlCl",
        (0.024, 0.164, 0.096, -0.367),
        1.015,
        -1.271,
    ),
    (
        "e6^WNf}ojkq_a|ToSbTYt8<d0j7ML4ppcGwc6n@Iet>dng@{>irgC3~f0kN^W`=T(q^X^hXL*u>l#Y34a)f(}fOK6_e3g-7cvn+kVSZv|PH=v5gNA2eousv`ns)",
        (0.083, -0.417, 0.026, -0.266),
        1.185,
        -1.3,
    ),
    (
        "d53a|gKTz@iCJlHk&9!YbWwYbe_?uTl9#D{kB*U<cBg=UnURHeeq?K~oMmQuYlV18H&SefkBDSnfQ5vRsE~P%pqZhjpM{;Gp_;6aafqdko1|x6QFm*>u4hnQl8O",
        (0.065, -0.69, 0.072, -0.515),
        0.155,
        -1.446,
    ),
    (
        "l$(}*n4y=JmQrI(j-7pAWx;4&eT6uNj*dWqh-hnoab|vrt7cbhvx$?pfl_?CkY#OJSzB*rX>XXmo^NY;qqd^Bo_1Kp%$mo_S#@%u-k@}Pf@5&4cw>r$XL59QWPt",
        (-0.102, 0.635, -0.059, 0.407),
        -1.352,
        1.782,
    ),
)
"""Hidden units: the weights of a patch (base 85, brightness before skin), of four facts, bias, output weight."""
