SUMMARY = "Power sequencing controller for server chassis"
DESCRIPTION = "Drives the power enables of a chassis over GPIO and PMBus in the order the board needs, waits for power good, \
and takes everything down again when a rail fails."
SECTION = "base"
# Its own licence, and those of what is in its bundle: usr/share/doc/chassis-power/copyright has them in full.
LICENSE = "Apache-2.0 & MIT & ISC"
LIC_FILES_CHKSUM = "file://usr/share/doc/chassis-power/copyright;md5=968b0e0713a64218a2e6474551c73a17"

# What "npm run package" leaves in build/, put into the folder files/ beside this recipe.
DEBIAN_ARCHITECTURE:arm = "armhf"
DEBIAN_ARCHITECTURE:aarch64 = "arm64"
DEBIAN_ARCHITECTURE:x86-64 = "amd64"
SRC_URI = "file://chassis-power_${PV}_${DEBIAN_ARCHITECTURE}.tar.gz;subdir=${BP}"
# Before Yocto 5.1 there was no folder of its own for what is unpacked.
UNPACKDIR ??= "${WORKDIR}"
S = "${UNPACKDIR}/${BP}"

# The board file of the machine, in files/ or in a .bbappend's: with it the image has the links of its chassis, and starts the
# service. Without one, "chassis-power units install" on the target makes them.
CHASSIS_POWER_BOARD ??= ""
# program or resident; legacy or current, beside phosphor-state-manager.
CHASSIS_POWER_STAGES ??= "program"
CHASSIS_POWER_FLAVOUR ??= "legacy"
SRC_URI += "${@'file://' + d.getVar('CHASSIS_POWER_BOARD') if d.getVar('CHASSIS_POWER_BOARD') else ''}"

inherit useradd

USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system chassis-power"

DEPENDS = "nodejs-native"
RDEPENDS:${PN} = "nodejs util-linux-flock libstdc++"
RRECOMMENDS:${PN} = "dbus systemd"

COMPATIBLE_HOST = "(arm|aarch64|x86_64).*-linux.*"

python () {
    features = (d.getVar('TUNE_FEATURES') or '').split()
    if d.getVar('TARGET_ARCH') == 'arm' and 'callconvention-hard' not in features:
        raise bb.parse.SkipRecipe('the addons are for ARMv7 with hard float')
}

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    cp -R --no-dereference --preserve=mode,links ${S}/usr ${S}/etc ${D}/
    chown -R root:root ${D}/usr ${D}/etc
    if [ -n "${CHASSIS_POWER_BOARD}" ]; then
        install -m 0644 ${UNPACKDIR}/${CHASSIS_POWER_BOARD} ${D}${sysconfdir}/chassis-power/board.json
        node ${D}${nonarch_libdir}/chassis-power/chassis-power.cjs units install --root ${D} \
            --board ${D}${sysconfdir}/chassis-power/board.json \
            --stages ${CHASSIS_POWER_STAGES} --flavour ${CHASSIS_POWER_FLAVOUR}
    fi
}

# What Node makes of the program, so that it starts sooner; on a root that cannot be written it starts as it is.
pkg_postinst_ontarget:${PN}() {
    node ${nonarch_libdir}/chassis-power/code-cache.cjs || true
}

PACKAGES = "${PN} ${PN}-doc ${PN}-bash-completion"

FILES:${PN} = "\
    ${bindir}/chassis-power \
    ${nonarch_libdir}/chassis-power \
    ${nonarch_libdir}/systemd \
    ${nonarch_libdir}/sysusers.d/chassis-power.conf \
    ${nonarch_libdir}/tmpfiles.d/chassis-power.conf \
    ${datadir}/dbus-1 \
    ${datadir}/chassis-power \
    ${sysconfdir}/chassis-power \
    ${sysconfdir}/systemd \
"
FILES:${PN}-doc = "${docdir}/chassis-power ${mandir}/man8/chassis-power.8.gz"
FILES:${PN}-bash-completion = "${datadir}/bash-completion"
CONFFILES:${PN} = "${sysconfdir}/chassis-power/board.json"

# Compiled and stripped when the archive was made, for three releases of Node, of which the image has one.
INHIBIT_PACKAGE_STRIP = "1"
INHIBIT_PACKAGE_DEBUG_SPLIT = "1"
INHIBIT_SYSROOT_STRIP = "1"
INSANE_SKIP:${PN} = "already-stripped"
